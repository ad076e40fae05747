"""The AWS user of an ElastiCacheIAMUser: made, adopted, put right, tagged."""

from collections.abc import Mapping
from typing import Final, assert_never

from elasticache_iam.api.keys import TAG_OWNER, USER_KIND
from elasticache_iam.api.user import AccessStringStatus, UserAdoption
from elasticache_iam.core import commands, names
from elasticache_iam.core.access import lint, render_access_string
from elasticache_iam.core.errors import AlreadyExistsError, BusyError, NotFoundError
from elasticache_iam.core.plan.tags import TagChange, plan_tags
from elasticache_iam.core.plan.user import (
    CreateUser,
    DesiredUser,
    SetAccessString,
    SetIamMode,
    UserAction,
    judge_adoption,
    plan_user,
)
from elasticache_iam.core.state import Inventory, ObservedUser
from elasticache_iam.core.status import USER_SYNCED, Stage
from elasticache_iam.reconcile.plane import is_ours
from elasticache_iam.reconcile.user.subject import Findings, RefusedError, Subject

MAX_STEPS: Final = 4
"""Adopted or found gone, created, put right, and one look more."""
LOOK_AGAIN_S: Final = 30.0
NOT_OURS_LOOK_S: Final = 300.0


class AwsUser:
    """Takes the AWS user to what the resource asks."""

    def __init__(self, subject: Subject, findings: Findings) -> None:
        self._subject = subject
        self._findings = findings
        self._plane = subject.plane
        self._meta = subject.user.metadata
        self._place = subject.place
        self._desired = DesiredUser(
            user_id=subject.user_id,
            engine=subject.group.spec.engine.value,
            access_string=render_access_string(subject.user.spec.access),
            tags=subject.tags,
        )

    async def sync(self, inventory: Inventory) -> ObservedUser:
        """Do the work of the stage.

        Raises:
            RefusedError: The AWS user is somebody else's.
            OperatorError: As the ports' methods do.
        """
        user, desired, fields = self._subject.user, self._desired, self._findings.fields
        fields["id"] = desired.user_id
        record = user.status.access_string if user.status.id == desired.user_id else None
        for _ in range(MAX_STEPS):
            live = inventory.users.get(desired.user_id)
            if live is not None and not await is_ours(self._plane, inventory, live.arn, USER_KIND, self._meta):
                inventory = await self._take_over(live)
                record = None
                continue
            actions = plan_user(desired, live, record)
            if not actions:
                break
            for action in actions:
                await self._apply(action, inventory, record)
                if record is None or record.sent != desired.access_string:
                    record = AccessStringStatus(sent=desired.access_string)  # what AWS makes of it is seen later
            fields["access_string"] = record
            inventory = await self._plane.observe_again(self._place)
        live = inventory.users.get(desired.user_id)
        if live is None:
            raise BusyError(f"AWS is creating the user {desired.user_id}")
        fields["arn"] = live.arn
        if live.is_active:
            await self._sync_tags(live, inventory)
            fields["access_string"] = AccessStringStatus(sent=desired.access_string, returned=live.access_string)
        self._report(live)
        return live

    def _report(self, live: ObservedUser) -> None:
        if live.is_active:
            is_raw = self._subject.user.spec.access.access_string is not None
            warnings = lint(self._desired.access_string) if is_raw else ()
            message = "; ".join((f"user {live.user_id} is active", *warnings))
            self._findings.stages.append(Stage.ok(USER_SYNCED, "Synced", message))
            return
        self._findings.polling = True
        message = f"AWS is at work on the user {live.user_id} ({live.status})"
        reason = "Creating" if live.status == "creating" else "Updating"
        self._findings.stages.append(Stage.waiting(USER_SYNCED, reason, message, retry_after_s=5.0))

    # -- changes ------------------------------------------------------------------------------------------------------

    async def _apply(self, action: UserAction, inventory: Inventory, record: AccessStringStatus | None) -> None:
        match action:
            case CreateUser():
                await self._create()
            case SetAccessString():
                await self._set_access_string(inventory.users[action.user_id], inventory, record)
            case SetIamMode():
                await self._set_iam_mode(inventory.users[action.user_id], inventory)
            case _:
                assert_never(action)

    async def _create(self) -> None:
        desired, status = self._desired, self._subject.user.status
        if status.arn and status.id == desired.user_id and status.arn == self._subject.user_arn:
            await self._repair(f"the user {desired.user_id}", "deleted")
        try:
            await self._plane.aws(self._place).create_user(
                desired.user_id, engine=desired.engine, access_string=desired.access_string, tags=desired.tags
            )
        except AlreadyExistsError:
            # Our own lost answer, or somebody else's: read back; the loop looks whose it is by its tags.
            await self._plane.observe_fresh(self._place)

    async def _set_access_string(
        self, live: ObservedUser, inventory: Inventory, record: AccessStringStatus | None
    ) -> None:
        if not await is_ours(self._plane, inventory, live.arn, USER_KIND, self._meta, is_to_change=True):
            raise self._not_owned(live)
        if record is not None and record.sent == self._desired.access_string:
            await self._repair(f"the access string of user {live.user_id}", live.access_string)
        await self._plane.aws(self._place).set_access_string(live.user_id, self._desired.access_string)

    async def _set_iam_mode(self, live: ObservedUser, inventory: Inventory) -> None:
        if not await is_ours(self._plane, inventory, live.arn, USER_KIND, self._meta, is_to_change=True):
            raise self._not_owned(live)
        await self._repair(f"the authentication mode of user {live.user_id}", live.auth_mode)
        await self._plane.aws(self._place).set_iam_mode(live.user_id)

    async def _repair(self, what: str, was: str) -> None:
        await self._plane.repair(self._subject.key, self._meta, what, was)

    # -- users of others ----------------------------------------------------------------------------------------------

    async def _take_over(self, live: ObservedUser) -> Inventory:
        """Adopt an AWS user that isn't ours so far, if it may be; return what there is after that.

        Raises:
            RefusedError: It stays whose it is.
        """
        try:
            tags = await self._plane.aws(self._place).list_tags(live.arn)
        except NotFoundError:
            return await self._plane.observe_fresh(self._place)  # it is gone: made anew
        if self._subject.user.spec.adoption is UserAdoption.NEVER:
            raise self._not_owned(live)
        owner, namespace = self._plane.installation.owner, self._meta.namespace
        refusal = judge_adoption(
            self._desired,
            live,
            consents=names.consents(tags, owner=owner, namespace=namespace),
            owner=tags.get(TAG_OWNER, ""),
        )
        if refusal is None:
            if not live.is_active:
                raise BusyError(f"user {live.user_id} is {live.status}; it is adopted after that")
            plan_user(self._desired, live, None)  # what can't be put right isn't adopted
            await self._plane.aws(self._place).set_tags(live.arn, self._desired.tags)
            note = f"the user {live.user_id} is this resource's now; its access string was {live.access_string}"
            await self._plane.post_event(self._subject.key, self._meta, reason="Adopted", note=note)
            return await self._plane.observe_again(self._place)
        if refusal.reason == "ConsentMissing":
            value = names.with_consent(tags, owner=owner, namespace=namespace)
            message = f"{refusal.message}: {commands.consent(live.arn, value)}"
            raise RefusedError(Stage.waiting(USER_SYNCED, refusal.reason, message, retry_after_s=LOOK_AGAIN_S))
        raise RefusedError(Stage.blocked(USER_SYNCED, refusal.reason, refusal.message, retry_after_s=NOT_OURS_LOOK_S))

    @staticmethod
    def _not_owned(live: ObservedUser) -> RefusedError:
        message = (
            f"the user {live.user_id} exists in AWS and isn't ours; choose another spec.id, delete it, or, if it may "
            "become this resource's, set spec.adoption: Adopt"
        )
        return RefusedError(Stage.blocked(USER_SYNCED, "NotOwned", message, retry_after_s=NOT_OURS_LOOK_S))

    # -- tags ---------------------------------------------------------------------------------------------------------

    async def _sync_tags(self, live: ObservedUser, inventory: Inventory) -> None:
        """Put the tags right. The paged ones may be old, so the user's own are read before a change."""
        asked = tuple(sorted(self._desired.tags.items()))
        memory, key = self._subject.memory, self._subject.key
        change = self._plan_tags(inventory.tags.get(live.arn, {}))
        if change is not None:
            aws = self._plane.aws(self._place)
            tags = await aws.list_tags(live.arn)
            if not self._subject.is_owned(tags):
                raise self._not_owned(live)
            change = self._plan_tags(tags)
            if change is not None:
                if memory.was_in_sync(key, "tags", asked) and not change.is_of_a_restored_cluster:
                    await self._repair(f"the tags of user {live.user_id}", ", ".join(change.keys))
                if change.put:
                    await aws.set_tags(live.arn, change.put)
                if change.remove:
                    await aws.remove_tags(live.arn, change.remove)
        memory.note_in_sync(key, "tags", asked)

    def _plan_tags(self, observed: Mapping[str, str]) -> TagChange | None:
        return plan_tags(
            self._desired.tags,
            observed,
            allowed=self._plane.installation.config.allowed_tag_keys,
            is_ours_alone=self._subject.user.spec.adoption is UserAdoption.NEVER,
        )
