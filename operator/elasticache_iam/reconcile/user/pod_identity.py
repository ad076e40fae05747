"""EKS Pod Identity: which role the pods of a user's ServiceAccounts get, for workloads that sign for themselves.

One association for each ServiceAccount. It decides which AWS identity new pods get, so one of somebody else's is never
replaced; ours are known by their tags, and by the ids in the status, so that a world at rest is asked for one list.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from elasticache_iam.api.config import PodIdentityAgent
from elasticache_iam.api.keys import USER_KIND
from elasticache_iam.api.user import AssociationStatus, DeliveryMode, ElastiCacheIAMUser, RoleBinding, RoleMode
from elasticache_iam.core import commands, names
from elasticache_iam.core.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
)
from elasticache_iam.ports import PodIdentity
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.user.role_terms import RoleTerms
from elasticache_iam.reconcile.user.subject import Findings, Subject

IsOwned = Callable[[Mapping[str, str]], bool]


def is_asked(user: ElastiCacheIAMUser) -> bool:
    """Whether the user's pods get their role by EKS Pod Identity."""
    spec = user.spec
    return (
        spec.role.binding is RoleBinding.POD_IDENTITY
        and spec.delivery.mode is DeliveryMode.NONE
        and spec.role.mode is not RoleMode.NONE
    )


def check_place(terms: RoleTerms) -> None:
    """Raise where pods can't get a role of the caches' account: before one is made there.

    Raises:
        NotFoundError: The operator doesn't know its cluster.
        InvalidSpecError: The role would be in another account than the cluster.
    """
    subject = terms.subject
    if not is_asked(subject.user):
        return
    arn, account = terms.cluster_arn, subject.plane.installation.account
    if subject.place.account != account:
        raise InvalidSpecError(
            f"role.binding PodIdentity gives pods roles of account {account} only, that of cluster {arn}; the caches "
            f"are in {subject.place.account}: use role.binding IRSA"
        )


@dataclass(slots=True)
class _Found:
    """What a look at each ServiceAccount has shown."""

    kept: dict[str, str]
    """ServiceAccount -> id of what is ours, for the status."""
    taken: list[str]
    missing: list[str]


class Associations:
    """Keeps a user's associations; nothing to do where none are asked for and none were made."""

    def __init__(self, subject: Subject, findings: Findings, *, is_settled: bool) -> None:
        self._subject = subject
        self._findings = findings
        self._user = subject.user
        self._namespace = subject.user.metadata.namespace
        self._is_settled = is_settled
        self._slow_s = subject.plane.installation.config.slow_drift_interval
        self._held = {entry.service_account: entry.id for entry in subject.user.status.pod_identity}

    async def sync(self, role_arn: str) -> None:
        """Give the ServiceAccounts' pods the role, and take it from those that the user names no longer.

        Raises:
            NotFoundError: Somebody else has to act first; what could be done is done.
            OperatorError: As the port's methods do.
        """
        port = self._subject.plane.pod_identity
        asked = self._user.spec.service_accounts if is_asked(self._user) else ()
        if port is None or not (asked or self._held):
            return
        found = _Found(dict(self._held), [], [])
        try:
            for account in sorted(self._held.keys() - set(asked)):
                await delete_if_ours(port, self._held[account], is_owned=self._subject.is_owned)
                del found.kept[account]
            for account in asked:
                await self._sync_account(port, account, role_arn, found)
        finally:
            self._findings.fields["pod_identity"] = tuple(
                AssociationStatus(service_account=account, id=association_id)
                for account, association_id in sorted(found.kept.items())
            )
        if asked:
            self._complain(found, role_arn)
            await self._check_agent(port)

    async def _sync_account(self, port: PodIdentity, account: str, role_arn: str, found: _Found) -> None:
        listed = await port.list_associations(max_age_s=self._slow_s)
        association_id = listed.get((self._namespace, account))
        if association_id is None:
            found.kept.pop(account, None)
            if self._user.spec.role.mode is not RoleMode.MANAGED:
                found.missing.append(account)  # whoever could hand roles of others to pods would have their rights
                return
            try:
                made = await port.create_association(
                    self._namespace, account, role_arn=role_arn, tags=self._subject.tags
                )
            except AlreadyExistsError as error:  # our own lost answer, or somebody was faster
                raise ConflictError(
                    f"ServiceAccount {self._namespace}/{account} has a Pod Identity association by now: looked at again"
                ) from error
            found.kept[account] = made.association_id
            return
        if self._is_settled and found.kept.get(account) == association_id:
            return  # AWS's list shows no roles: whoever only changes the role of ours is found out at the next edit
        live = await port.get_association(association_id)
        if live is None:
            raise ConflictError(f"the Pod Identity association {association_id} is gone: looked at again")
        found.kept.pop(account, None)
        if self._subject.is_owned(live.tags):
            found.kept[account] = association_id
            if live.role_arn != role_arn:
                await port.set_association_role(association_id, role_arn)
        elif live.role_arn != role_arn:
            found.taken.append(f"{account} ({live.role_arn})")

    def _complain(self, found: _Found, role_arn: str) -> None:
        if found.taken:
            raise NotFoundError(
                f"ServiceAccount {', '.join(found.taken)} has another role by a Pod Identity association that isn't "
                "ours, which is never replaced: pods would lose that role. Delete it, name that role in spec.role "
                "(mode Existing), or use another ServiceAccount",
                reason="AssociationTaken",
            )
        if found.missing:
            cluster = self._subject.plane.installation.config.cluster_name or "CLUSTER"
            associate = "; ".join(
                commands.associate(cluster, self._namespace, account, role_arn) for account in found.missing
            )
            raise NotFoundError(
                f"no Pod Identity association gives ServiceAccount {', '.join(found.missing)} the role; as the role "
                f"isn't ours, its owner has to: {associate}",
                reason="AssociationMissing",
            )

    async def _check_agent(self, port: PodIdentity) -> None:
        config = self._subject.plane.installation.config
        if config.pod_identity_agent is PodIdentityAgent.OWN or await port.has_agent(max_age_s=self._slow_s):
            return
        cluster = config.cluster_name or "CLUSTER"
        raise NotFoundError(
            f"cluster {cluster} lacks the add-on that hands roles to pods: "
            f"{commands.add_pod_identity_agent(cluster)}; where the agent comes "
            "otherwise (EKS Auto Mode has it), set podIdentityAgent: Own in the operator's configuration",
            reason="PodIdentityAgentMissing",
        )


async def delete_if_ours(port: PodIdentity, association_id: str, *, is_owned: IsOwned) -> None:
    """Delete our association, going by its own tags, read right before it goes."""
    live = await port.get_association(association_id)
    if live is not None and is_owned(live.tags):
        await port.delete_association(association_id)


async def release_all(plane: Plane, user: ElastiCacheIAMUser) -> None:
    """Delete what was made for a user; for its deletion. The status may lack the last one: a crash in between."""
    port, meta, owner = plane.pod_identity, user.metadata, plane.installation.owner
    if port is None or not (is_asked(user) or user.status.pod_identity):
        return

    def is_owned(tags: Mapping[str, str]) -> bool:
        return names.is_owned(tags, owner=owner, kind=USER_KIND, namespace=meta.namespace, name=meta.name)

    listed = await port.list_associations(max_age_s=plane.installation.config.slow_drift_interval)
    named = {listed.get((meta.namespace, account)) for account in user.spec.service_accounts if is_asked(user)}
    for association_id in sorted({entry.id for entry in user.status.pod_identity} | {one for one in named if one}):
        await delete_if_ours(port, association_id, is_owned=is_owned)
