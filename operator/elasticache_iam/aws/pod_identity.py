"""EKS Pod Identity associations of one cluster.

AWS's list shows whose they are in Kubernetes, without role and tags; those take a call each. So the list is read as a
whole and kept, and one association only where something about it has to be known.
"""

from collections.abc import Mapping
from typing import Any, Final

from elasticache_iam.aws.api import Api, Cursor
from elasticache_iam.aws.errors import gone_is_success
from elasticache_iam.aws.part import Part, Sequence
from elasticache_iam.core.errors import NotFoundError
from elasticache_iam.core.state import ObservedAssociation
from elasticache_iam.ports import Clock

AGENT: Final = "eks-pod-identity-agent"
"""The add-on's name."""
PAGE_SIZE: Final = 100
_CURSOR: Final = Cursor("nextToken", "nextToken")
_GONE: Final = "ResourceNotFoundException"


class EksPodIdentity:
    """Implements `ports.PodIdentity`, for one event loop.

    Args:
        api: Calls in the cluster's account and region.
        cluster_name: The cluster.
        clock: Its monotonic side tells the age of readings.
    """

    def __init__(self, api: Api, *, cluster_name: str, clock: Clock) -> None:
        self._api = api
        self._cluster_name = cluster_name
        self._sequence = Sequence()
        self._list = Part(self._read_list, clock=clock, sequence=self._sequence)
        self._agent = Part(self._read_agent, clock=clock, sequence=self._sequence)
        self._written: dict[tuple[str, str], tuple[int, str | None]] = {}
        """What our own writes tell: a stamp and an id, None for what is gone. It holds until the list is newer."""

    async def list_associations(self, *, max_age_s: float) -> Mapping[tuple[str, str], str]:
        """Return the ids of all associations by namespace and ServiceAccount, no older than asked."""
        reading = await self._list.get(max_age_s)
        self._written = {key: entry for key, entry in self._written.items() if entry[0] > reading.stamp}
        known = {**reading.value, **{key: association_id for key, (_, association_id) in self._written.items()}}
        return {key: association_id for key, association_id in known.items() if association_id is not None}

    async def get_association(self, association_id: str) -> ObservedAssociation | None:
        """Return an association, read now; None if there is none."""
        try:
            answer = await self._call("DescribePodIdentityAssociation", {"associationId": association_id})
        except NotFoundError as error:
            if error.code != _GONE:
                raise
            self._list.invalidate()
            return None
        return _observe(answer["association"])

    async def create_association(
        self, namespace: str, service_account: str, *, role_arn: str, tags: Mapping[str, str]
    ) -> ObservedAssociation:
        """Give a ServiceAccount's new pods a role. Raises AlreadyExistsError: AWS takes one for each."""
        parameters = {"namespace": namespace, "serviceAccount": service_account}
        answer = await self._write(
            "CreatePodIdentityAssociation", {**parameters, "roleArn": role_arn, "tags": dict(tags)}
        )
        made = _observe(answer["association"])
        self._note(made, made.association_id)
        return made

    async def set_association_role(self, association_id: str, role_arn: str) -> None:
        """Give its pods another role. Raises NotFoundError."""
        await self._write("UpdatePodIdentityAssociation", {"associationId": association_id, "roleArn": role_arn})

    async def delete_association(self, association_id: str) -> None:
        """Delete an association; a missing one is success."""
        with gone_is_success(_GONE):
            answer = await self._write("DeletePodIdentityAssociation", {"associationId": association_id})
            self._note(_observe(answer["association"]), None)

    async def has_agent(self, *, max_age_s: float) -> bool:
        """Whether the cluster has the add-on that hands roles to pods. A missing one is looked for each time."""
        if (await self._agent.get(max_age_s)).value:
            return True
        self._agent.invalidate()
        return False

    async def _call(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._api.call("eks", operation, {"clusterName": self._cluster_name, **parameters})

    async def _write(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out a write. Where it fails nobody knows what it did: the list is read again."""
        try:
            return await self._call(operation, parameters)
        except BaseException:
            self._list.invalidate()
            raise

    def _note(self, association: ObservedAssociation, association_id: str | None) -> None:
        key = (association.namespace, association.service_account)
        self._written[key] = (self._sequence.next(), association_id)

    async def _read_list(self) -> dict[tuple[str, str], str]:
        parameters = {"clusterName": self._cluster_name, "maxResults": PAGE_SIZE}
        found = self._api.items("eks", "ListPodIdentityAssociations", "associations", parameters, cursor=_CURSOR)
        return {(one["namespace"], one["serviceAccount"]): one["associationId"] async for one in found}

    async def _read_agent(self) -> bool:
        try:
            await self._call("DescribeAddon", {"addonName": AGENT})
        except NotFoundError as error:
            if error.code != _GONE:
                raise
            return False
        return True


def _observe(association: Mapping[str, Any]) -> ObservedAssociation:
    return ObservedAssociation(
        association_id=association["associationId"],
        namespace=association["namespace"],
        service_account=association["serviceAccount"],
        role_arn=association.get("roleArn", ""),
        tags=dict(association.get("tags") or {}),
    )
