"""EKS Pod Identity as it would be: reads come from the real one, writes are noted and done to a copy."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from elasticache_iam.core.errors import AlreadyExistsError, NotFoundError
from elasticache_iam.core.plan import calls
from elasticache_iam.core.plan.calls import Call
from elasticache_iam.core.state import ObservedAssociation
from elasticache_iam.ports import PodIdentity


class PreviewPodIdentity:
    """`ports.PodIdentity` for one preview.

    Args:
        real: What is read.
        cluster_name: The cluster that the calls name.
        note: Told each call that would be made, in order.
    """

    def __init__(self, real: PodIdentity, cluster_name: str, note: Callable[[Call], None]) -> None:
        self._real = real
        self._cluster_name = cluster_name
        self._note = note
        self._written: dict[str, ObservedAssociation | None] = {}

    async def list_associations(self, *, max_age_s: float) -> Mapping[tuple[str, str], str]:
        """As in the port."""
        real = await self._real.list_associations(max_age_s=max_age_s)
        found = {key: one for key, one in real.items() if self._written.get(one, True) is not None}
        made = (one for one in self._written.values() if one is not None)
        return {**found, **{(one.namespace, one.service_account): one.association_id for one in made}}

    async def get_association(self, association_id: str) -> ObservedAssociation | None:
        """As in the port."""
        if association_id in self._written:
            return self._written[association_id]
        return await self._real.get_association(association_id)

    async def create_association(
        self, namespace: str, service_account: str, *, role_arn: str, tags: Mapping[str, str]
    ) -> ObservedAssociation:
        """As in the port."""
        if (namespace, service_account) in await self.list_associations(max_age_s=float("inf")):
            raise AlreadyExistsError(f"ServiceAccount {namespace}/{service_account} has an association")
        self._note(
            calls.create_association(self._cluster_name, namespace, service_account, role_arn=role_arn, tags=tags)
        )
        made = ObservedAssociation(f"(new {service_account})", namespace, service_account, role_arn, dict(tags))
        self._written[made.association_id] = made
        return made

    async def set_association_role(self, association_id: str, role_arn: str) -> None:
        """As in the port."""
        found = await self.get_association(association_id)
        if found is None:
            raise NotFoundError(f"there would be no association {association_id}")
        self._note(calls.set_association_role(self._cluster_name, association_id, role_arn))
        self._written[association_id] = replace(found, role_arn=role_arn)

    async def delete_association(self, association_id: str) -> None:
        """As in the port."""
        self._note(calls.delete_association(self._cluster_name, association_id))
        self._written[association_id] = None

    async def has_agent(self, *, max_age_s: float) -> bool:
        """As in the port."""
        return await self._real.has_agent(max_age_s=max_age_s)
