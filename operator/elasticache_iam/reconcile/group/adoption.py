"""Whose a group in AWS is: ours, one to take over, one that is lent to us, or somebody else's."""

from collections.abc import Mapping
from typing import Final

from elasticache_iam.api.group import GroupAdoption, UserGroup
from elasticache_iam.api.keys import GROUP_KIND, TAG_NAME, TAG_NAMESPACE, TAG_ORPHANED, TAG_OWNER
from elasticache_iam.core import commands, names
from elasticache_iam.core.admission import CONSENT_MISSING
from elasticache_iam.core.errors import InvalidSpecError, NotFoundError, NotOwnedError
from elasticache_iam.core.plan.group import DesiredGroup, describe, foretell_group
from elasticache_iam.core.state import Inventory, ObservedGroup
from elasticache_iam.reconcile.plane import Plane, is_ours
from elasticache_iam.reconcile.queue import Key


class Holding:
    """Makes sure that a group may be worked on, and how.

    Attributes:
        is_lent: Whether the group is and stays somebody else's: only our own members come and go.
    """

    def __init__(self, plane: Plane, key: Key, group: UserGroup) -> None:
        self._plane = plane
        self._key = key
        self._group = group
        self._place = plane.installation.place_of(group)
        self._group_id = plane.installation.group_id(group)
        self.is_lent = group.spec.adoption is GroupAdoption.REFERENCE

    async def may_change(self, live: ObservedGroup, inventory: Inventory) -> bool:
        """Whether a group may be changed right now, by its own tags."""
        if self.is_lent:
            return self._consents(await self._plane.aws(self._place).list_tags(live.arn))
        return await is_ours(self._plane, inventory, live.arn, GROUP_KIND, self._group.metadata, is_to_change=True)

    async def is_ours(self, live: ObservedGroup, inventory: Inventory) -> bool:
        """Whether a group is this resource's."""
        return not self.is_lent and await is_ours(self._plane, inventory, live.arn, GROUP_KIND, self._group.metadata)

    async def take(self, live: ObservedGroup | None, inventory: Inventory, desired: DesiredGroup) -> bool:
        """Take hold of a group; return whether it was taken over just now, which outdates what was observed.

        Args:
            live: The group in AWS, None if there is none.
            inventory: What else there is.
            desired: What the resource asks for.

        Raises:
            OperatorError: It can't be worked on; the reason and the message say why, and what to do.
        """
        self._check_claim()
        if live is None:
            self._check_creation()
        elif self.is_lent:
            await self._check_loan(live, inventory)
        elif not await self.is_ours(live, inventory):
            await self._adopt(live, inventory, desired)
            return True
        return False

    # -- groups that aren't there -------------------------------------------------------------------------------------

    def _check_claim(self) -> None:
        """Raise for a group that another UserGroup here works on: two would take each other's members out."""
        mine = self._group.metadata
        rank = (self.is_lent, str(mine.creation_timestamp), mine.namespace, mine.name)
        for other in self._plane.store.groups():
            meta, installation = other.metadata, self._plane.installation
            is_lent = other.spec.adoption is GroupAdoption.REFERENCE
            if not self.is_lent and not is_lent:
                continue  # whose it is say the tags
            if installation.group_id(other) != self._group_id or installation.place_of(other) != self._place:
                continue
            if not meta.is_deleting and (is_lent, str(meta.creation_timestamp), meta.namespace, meta.name) < rank:
                raise NotOwnedError(
                    f"the group {self._group_id} is held by UserGroup {meta.namespace}/{meta.name}; have its users "
                    "join that one",
                    reason="GroupClaimed",
                )

    def _check_creation(self) -> None:
        """Raise for a group that is not ours to make."""
        where = f"{self._place.region} of account {self._place.account}"
        if self.is_lent:
            raise NotFoundError(
                f"there is no group {self._group_id} in {where}; its owner makes it (adoption: Reference). If it is "
                "elsewhere make a new UserGroup with its spec.region or spec.account",
                reason="GroupNotFound",
            )
        prefix = f"{self._plane.installation.owner}-"
        if self._group_id.startswith(prefix):
            return
        if self._group.spec.adoption is GroupAdoption.ADOPT:
            raise NotFoundError(
                f"there is no group {self._group_id} in {where} to adopt, and none is made: the operator's rights in "
                f"AWS end at ids that begin with {prefix}",
                reason="GroupNotFound",
            )
        raise InvalidSpecError(
            f"spec.id {self._group_id} doesn't begin with {prefix}, where the operator's rights in AWS end; make a new "
            f"UserGroup without spec.id, with one that begins with {prefix}, or with adoption: Adopt or Reference if "
            "the group is to come from elsewhere",
            reason="IdNotAllowed",
        )

    # -- groups of others ---------------------------------------------------------------------------------------------

    async def _check_loan(self, live: ObservedGroup, inventory: Inventory) -> None:
        """Raise unless the group's owner lets us put members in."""
        if self._consents(inventory.tags.get(live.arn, {})):
            return
        tags = await self._plane.aws(self._place).list_tags(live.arn)
        if not self._consents(tags):
            raise NotFoundError(
                f"the owner of group {live.group_id} hasn't consented that our users join it: "
                f"{self._remedy(live, tags)}",
                reason=CONSENT_MISSING,
            )

    async def _adopt(self, live: ObservedGroup, inventory: Inventory, desired: DesiredGroup) -> None:
        """Take a group over, with its owner's consent.

        Raises:
            NotOwnedError: It is another resource's, or isn't to be adopted.
            InvalidSpecError: Its engine is another one.
            NotFoundError: Its owner hasn't consented.
        """
        plane, meta = self._plane, self._group.metadata
        tags = await plane.aws(self._place).list_tags(live.arn)
        owner = tags.get(TAG_OWNER)
        if owner is not None and TAG_ORPHANED not in tags:
            whose = f"{owner}, UserGroup {tags.get(TAG_NAMESPACE, '?')}/{tags.get(TAG_NAME, '?')}"
            raise NotOwnedError(f"the group {live.group_id} in AWS belongs to {whose} by its tags; {_OTHER_WAYS}")
        if self._group.spec.adoption is not GroupAdoption.ADOPT:
            raise NotOwnedError(
                f"the user group {live.group_id} exists in AWS and isn't ours; {_OTHER_WAYS}. To use it, set "
                f"spec.adoption: Adopt (we manage it) or Reference (its owner does), with spec.id: {live.group_id}, "
                f"and have its owner consent: {self._remedy(live, tags)}"
            )
        if live.engine != desired.engine and (live.engine, desired.engine) != ("redis", "valkey"):
            raise InvalidSpecError(
                f"the group {live.group_id} has engine {live.engine}; make a new UserGroup with engine: {live.engine}",
                reason="EngineMismatch",
            )
        if not self._consents(tags):
            changes = "; ".join(self._foretell(live, inventory, desired))
            raise NotFoundError(
                f"the owner of group {live.group_id} hasn't consented to its adoption: {self._remedy(live, tags)}. "
                f"Then this would be done: {changes}",
                reason=CONSENT_MISSING,
            )
        note = f"taking over the group {live.group_id}: {'; '.join(self._foretell(live, inventory, desired))}"
        await plane.post_event(self._key, meta, reason="Adopted", note=note)
        await plane.aws(self._place).set_tags(live.arn, desired.tags)
        if TAG_ORPHANED in tags:
            await plane.aws(self._place).remove_tags(live.arn, frozenset({TAG_ORPHANED}))

    def _foretell(self, live: ObservedGroup, inventory: Inventory, desired: DesiredGroup) -> list[str]:
        """Return the changes that adopting a group brings, in words."""
        actions = foretell_group(desired, live, users=inventory.users)
        keys = ", ".join(sorted(desired.tags))
        return [f"set the tags {keys}", *(describe(action) for action in actions)]

    def _consents(self, tags: Mapping[str, str]) -> bool:
        return names.consents(tags, owner=self._plane.installation.owner, namespace=self._group.metadata.namespace)

    def _remedy(self, live: ObservedGroup, tags: Mapping[str, str]) -> str:
        namespace = self._group.metadata.namespace
        return commands.consent(
            live.arn, names.with_consent(tags, owner=self._plane.installation.owner, namespace=namespace)
        )


_OTHER_WAYS: Final = "choose another spec.id, or delete it in AWS if it is nobody's"
