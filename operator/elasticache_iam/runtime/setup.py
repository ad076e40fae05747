"""The composition root of `elasticache-iam setup`: AWS and the cluster read with the caller's own rights."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import yaml
from boto3.session import Session

from elasticache_iam.api import crd
from elasticache_iam.api.config import Signing
from elasticache_iam.api.keys import ANNOTATION_ROLE_ARN
from elasticache_iam.api.parse import salvage_group
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.places import AwsPlaces
from elasticache_iam.aws.policies import ManagedPolicies
from elasticache_iam.core import commands, names
from elasticache_iam.core import prerequisites as need
from elasticache_iam.core.errors import AccessDeniedError, ConfigurationError, NotFoundError, OperatorError
from elasticache_iam.core.installation import Installation
from elasticache_iam.core.plan.attachment import cache_ref
from elasticache_iam.core.policy import OperatorOptions, operator_policy
from elasticache_iam.core.prerequisites import AWS, CACHES, CLUSTER, ROLE, Identity, Place, Prerequisite, Section
from elasticache_iam.core.state import CacheRef, Inventory, ObservedRole
from elasticache_iam.kube.connection import Connection, Request, open_connection
from elasticache_iam.kube.kube import ApiKube
from elasticache_iam.kube.lease import LEASE_NAME, ApiLease
from elasticache_iam.kube.rights import in_words, list_missing, needed_rights, surplus_rights
from elasticache_iam.reconcile.queue import GROUPS
from elasticache_iam.runtime.clock import SystemClock
from elasticache_iam.runtime.installation import Said, find_config, resolve
from elasticache_iam.runtime.resources import ReadOnly

T = TypeVar("T")

_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
_CRDS: Final = "/apis/apiextensions.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Survey:
    """What to look at.

    Attributes:
        said: Which installation.
        operator_role: The operator's role; None: as its ServiceAccount says.
        cache_ids: Only these caches; empty: those that UserGroups name, or whose owners have agreed.
        uses_cluster: Whether there is a cluster to look at.
        kubeconfig: How to reach it; None: as kubectl does.
        context: Of the kubeconfig; None: the current one.
    """

    said: Said
    operator_role: str | None = None
    cache_ids: tuple[str, ...] = ()
    uses_cluster: bool = True
    kubeconfig: str | None = None
    context: str | None = None

    @property
    def place(self) -> Place:
        """Where the operator is, or is to be."""
        return Place(self.said.namespace, self.said.name)


@dataclass(slots=True)
class _Ground:
    """What all checks stand on."""

    survey: Survey
    connection: Connection | None
    installation: Installation
    places: AwsPlaces
    policies: ManagedPolicies
    annotations: Mapping[str, str] | None = None
    is_account_seen: bool = False
    """Whether the operator's ServiceAccount, whose annotations these are, could be looked at."""
    groups: tuple[tuple[str, CacheRef], ...] = field(default=())
    """The namespaces of UserGroups with the caches that they name."""


async def survey(asked: Survey, session: Session) -> list[Prerequisite]:
    """Look at everything, once; what can't be looked at is told as such.

    Raises:
        ConfigurationError: Owner, region or issuer can't be found out; the text says what to do.
        OperatorError: AWS doesn't say who asks.
    """
    async with contextlib.AsyncExitStack() as stack:
        bridge = Bridge()
        stack.callback(bridge.close)
        connection = None
        if asked.uses_cluster:
            connection = await _connect(asked)
            stack.push_async_callback(connection.close)
        installation = await _find_installation(asked, session, bridge, connection)
        places = AwsPlaces(session, installation=installation, bridge=bridge, fence=ReadOnly(), clock=SystemClock())
        policies = ManagedPolicies(session, region=installation.region, lane=bridge.control)
        ground = _Ground(asked, connection, installation, places, policies)
        cluster = [found async for found in _look_at_cluster(ground)] if connection is not None else []
        aws = [found async for found in _look_at_aws(ground)]
        role = [found async for found in _look_at_role(ground)]
        caches = [found async for found in _look_at_caches(ground)]
    return [*aws, *role, *cluster, *caches]


async def _connect(asked: Survey) -> Connection:
    try:
        return await open_connection(asked.kubeconfig, context=asked.context)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error.message}; or look at AWS alone: --no-cluster --issuer URL") from error


# -- what is configured -----------------------------------------------------------------------------------------------


async def _find_installation(
    asked: Survey, session: Session, bridge: Bridge, connection: Connection | None
) -> Installation:
    config = await find_config(asked.said, connection)
    # Whoever signs, the operator's role is looked at by the issuer, and where it signs itself it need not be known yet.
    as_any = config.model_copy(update={"signing": Signing.WEB_IDENTITY})
    return replace(await resolve(as_any, session, bridge, is_operator=False), config=config)


# -- one thing after the other ----------------------------------------------------------------------------------------


async def _told(section: Section, what: str, look: Callable[[], Awaitable[T]]) -> T | Prerequisite:
    """Return what there is; or that it can't be told, and why."""
    try:
        return await look()
    except OperatorError as error:
        return section.unseen(f"{what} can't be looked at: {error.message}")


async def _look_at_aws(ground: _Ground) -> AsyncIterator[Prerequisite]:
    installation = ground.installation
    config, aws = installation.config, ground.places(installation.home)
    yield AWS.there(f"account {installation.account}, region {installation.region}, owner {installation.owner}")
    if config.signing is Signing.WEB_IDENTITY:
        audiences = await _told(AWS, "the OIDC provider", lambda: aws.get_oidc_audiences(installation.issuer))
        if isinstance(audiences, Prerequisite):
            yield audiences
        else:
            for found in need.check_provider(
                audiences,
                issuer=installation.issuer,
                audience=config.audience,
                provider_arn=installation.oidc_provider_arn(installation.home),
            ):
                yield found
    boundary = config.permissions_boundary
    if boundary is None:
        yield need.check_boundary(None, is_there=False)
        return
    there = await _told(AWS, "the permissions boundary", lambda: ground.policies.is_there(boundary))
    yield there if isinstance(there, Prerequisite) else need.check_boundary(boundary, is_there=there)


async def _look_at_role(ground: _Ground) -> AsyncIterator[Prerequisite]:
    installation = ground.installation
    asked = ground.survey
    identity = Identity(
        asked.place,
        asked.operator_role or (ground.annotations or {}).get(ANNOTATION_ROLE_ARN),
        installation.issuer,
        installation.oidc_provider_arn(installation.home),
        installation.cluster_arn,
    )
    if (unknown := need.check_role_known(identity, is_account_seen=ground.is_account_seen)) is not None:
        yield unknown
        return
    role_name = names.role_name_of(identity.role_arn or "")
    if role_name is None:
        yield ROLE.missing(f"{identity.role_arn} is no role's ARN", "")
        return
    aws = ground.places(installation.home)
    role = await _told(ROLE, f"the role {role_name}", lambda: aws.get_role(role_name))
    if isinstance(role, Prerequisite):
        yield role
        return
    for found in need.check_role(role, identity):
        yield found
    if role is not None:
        documents = await _told(ROLE, "its policies", lambda: _policies_of(ground, role))
        if isinstance(documents, Prerequisite):
            yield documents
        else:
            yield need.check_policy(
                documents,
                lambda options: _needed_policy(installation, options),
                lambda options: _print_policy(installation, options),
                role_name=role_name,
            )


def _needed_policy(installation: Installation, options: OperatorOptions) -> Mapping[str, Any]:
    config = installation.config
    return operator_policy(
        owner=installation.owner,
        partition=names.partition_of(installation.region),
        account=installation.account,
        region=installation.region,
        more_regions=options.more_regions,
        boundary=config.permissions_boundary,
        trusted_caches=config.trusted_caches,
        memorydb=options.memorydb,
        existing_roles=options.existing_roles,
        roles_elsewhere=tuple(entry.role_arn for entry in config.accounts),
        assume_role_signing=config.signing is Signing.ASSUME_ROLE,
        pod_identity_cluster=_cluster_name(installation, options),
    )


def _print_policy(installation: Installation, options: OperatorOptions) -> str:
    config, home = installation.config, installation.region
    regions = (home, *(region for region in options.more_regions if region != home))
    cluster = _cluster_name(installation, options)
    return commands.print_operator_policy(
        *("--owner", installation.owner, "--account", installation.account),
        *(word for region in regions for word in ("--region", region)),
        *(("--boundary", config.permissions_boundary) if config.permissions_boundary else ()),
        *(() if options.memorydb else ("--without-memorydb",)),
        *(("--existing-roles",) if options.existing_roles else ()),
        *(("--pod-identity-cluster", cluster) if cluster else ()),
        *(word for arn in config.trusted_caches for word in ("--trusted-cache", arn)),
        *(word for entry in config.accounts for word in ("--role-elsewhere", entry.role_arn)),
        *(("--assume-role-signing",) if config.signing is Signing.ASSUME_ROLE else ()),
    )


def _cluster_name(installation: Installation, options: OperatorOptions) -> str | None:
    """Return the cluster of Pod Identity's users, if the policy knows such: the configured one, if there is one."""
    held = options.pod_identity_cluster
    return held and (installation.config.cluster_name or held)


async def _policies_of(ground: _Ground, role: ObservedRole) -> dict[str, Mapping[str, Any]]:
    """Return all policies of a role, managed ones by their ARNs: those are read one by one."""
    managed = {arn: await ground.policies.get_document(arn) for arn in sorted(role.managed_policies or ())}
    return {**(role.policies or {}), **managed}


# -- the cluster ------------------------------------------------------------------------------------------------------


async def _look_at_cluster(ground: _Ground) -> AsyncIterator[Prerequisite]:
    place = ground.survey.place
    assert ground.connection is not None  # noqa: S101  # for the type checker: asked by the caller
    connection = ground.connection
    try:
        version = await connection.call(Request("get", "", "version"))
    except OperatorError as error:
        yield CLUSTER.missing(f"the cluster doesn't answer: {error.message}", "kubectl cluster-info")
        return
    yield need.check_version(str(version.get("gitVersion", "")))
    kube = ApiKube(connection, ReadOnly())
    wanted = [yaml.safe_load(text) for text in crd.files().values()]
    crds = await _told(CLUSTER, "the CRDs", lambda: _read_crds(connection, wanted))
    yield crds if isinstance(crds, Prerequisite) else need.check_crds(crds, wanted)
    account = await _told(
        CLUSTER, "the ServiceAccount", lambda: kube.get_service_account_annotations(place.namespace, place.name)
    )
    if isinstance(account, Prerequisite):
        yield account
    else:
        ground.annotations, ground.is_account_seen = account, True
        installation = ground.installation
        yield need.check_service_account(account, place=place, owner=installation.owner, region=installation.region)
        if account is not None:
            async for found in _look_at_rights(ground, connection):
                yield found
    lease = await _told(
        CLUSTER, "the operator's Lease", ApiLease(connection, namespace=place.namespace, name=LEASE_NAME).get
    )
    if isinstance(lease, Prerequisite):
        yield lease
    else:
        holder, renewed_at = (lease.holder, lease.renewed_at) if lease is not None else ("", None)
        yield need.check_leader(holder, renewed_at, place=place, now=SystemClock().now())
    fence = await _told(CLUSTER, "the admission policies", lambda: _read_fence(connection))
    yield fence if isinstance(fence, Prerequisite) else need.check_fence(*fence, place=place)
    with contextlib.suppress(OperatorError):  # told above by the CRDs, or below by --cache
        ground.groups = tuple([named async for named in _named_caches(kube)])


async def _read_crds(connection: Connection, wanted: list[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any] | None]:
    found: dict[str, Mapping[str, Any] | None] = {}
    for each in wanted:
        name = each["metadata"]["name"]
        try:
            found[name] = await connection.call(Request("get", _CRDS, "customresourcedefinitions", name=name))
        except NotFoundError:
            found[name] = None
    return found


async def _read_fence(connection: Connection) -> tuple[frozenset[str], frozenset[str]]:
    kinds = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    lists = [await connection.call(Request("list", _ADMISSION, kind)) for kind in kinds]
    policies, bindings = (frozenset(item["metadata"]["name"] for item in found["items"]) for found in lists)
    return policies, bindings


async def _named_caches(kube: ApiKube) -> AsyncIterator[tuple[str, CacheRef]]:
    async for body in kube.list_resources(GROUPS):
        group = salvage_group(body)
        for cache in group.spec.caches:
            yield group.metadata.namespace, cache_ref(cache)


async def _look_at_rights(ground: _Ground, connection: Connection) -> AsyncIterator[Prerequisite]:
    config, place = ground.installation.config, ground.survey.place
    subject = (place.namespace, place.name)
    surplus = surplus_rights(config)
    try:
        missing = await list_missing(connection, needed_rights(config, namespace=place.namespace), subject=subject)
        without = await list_missing(connection, surplus, subject=subject)
    except AccessDeniedError:
        says = "you may not ask what the operator's ServiceAccount may do (create subjectaccessreviews)"
        yield CLUSTER.unseen(says)
        return
    except OperatorError as error:
        yield CLUSTER.unseen(f"the operator's rights can't be looked at: {error.message}")
        return
    yield need.check_rights(in_words(missing))
    yield need.check_secret_reads(in_words(right for right in surplus if right not in without))


# -- caches -----------------------------------------------------------------------------------------------------------


async def _look_at_caches(ground: _Ground) -> AsyncIterator[Prerequisite]:
    installation = ground.installation
    aws = ground.places(installation.home)
    inventory = await _told(CACHES, "caches", lambda: aws.get_inventory(max_age_s=0.0, slow_max_age_s=0.0))
    if isinstance(inventory, Prerequisite):
        yield inventory
        return
    chosen = dict(_choose(ground, inventory))
    for cache_id in ground.survey.cache_ids:
        if not any(ref.id == cache_id for ref in chosen):
            says = f"there is no cache {cache_id} in {installation.region} of account {installation.account}"
            yield CACHES.missing(says, "say its id, not its endpoint; another region: --region")
    for ref in sorted(chosen):
        cache = inventory.caches[ref]
        tags = inventory.tags.get(cache.arn, {})
        for found in need.check_cache(
            cache, tags, owner=installation.owner, namespace=chosen[ref], region=installation.region
        ):
            yield found
    listed = len(chosen) + len(ground.survey.cache_ids)
    if (none := need.check_any_cache(found=len(inventory.caches), listed=listed)) is not None:
        yield none


def _choose(ground: _Ground, inventory: Inventory) -> Iterator[tuple[CacheRef, str | None]]:
    """Yield the caches to look at, each with the namespace of a UserGroup that names it, None if none does."""
    named = {ref: namespace for namespace, ref in ground.groups}
    owner = ground.installation.owner
    for ref, cache in inventory.caches.items():
        tags = inventory.tags.get(cache.arn, {})
        if ground.survey.cache_ids:
            if ref.id in ground.survey.cache_ids:
                yield ref, named.get(ref)
        elif ref in named or names.consents(tags, owner=owner, namespace=None):
            yield ref, named.get(ref)
