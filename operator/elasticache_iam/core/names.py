"""Every name this operator gives to something, and the tags that say whose it is.

AWS ids allow lower-case letters, digits and single hyphens in at most 40 characters; Kubernetes names allow more and
longer ones. So a default id is readable and ends in a hash of what it stands for. Ids become signing hosts and ARNs:
nothing here lets another character through.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from elasticache_iam.api.group import Service
from elasticache_iam.api.keys import (
    GROUP,
    LABEL_MANAGED_BY,
    LABEL_OWNER,
    LABEL_USER,
    MANAGED_BY,
    TAG_ALLOW,
    TAG_KIND,
    TAG_NAME,
    TAG_NAMESPACE,
    TAG_OWNER,
    TAG_UID,
)
from elasticache_iam.core.state import CacheKind, CacheRef, Place

MAIN_ALIAS: Final = "main"
"""The cache whose Secret has the plain name."""

_READABLE_LENGTH: Final = 20
"""owner (10) + 20 + hash (8) + two hyphens = 40, AWS's limit for user and group ids."""

_HASH_LENGTH: Final = 8
_POLICY_NAME_LENGTH: Final = 128
"""IAM: PutRolePolicy's PolicyName."""
_SESSION_NAME_LENGTH: Final = 64
"""AssumeRoleWithWebIdentity: RoleSessionName has 2 to 64 characters of [\\w+=,.@-]."""

_RESERVED_ID: Final = re.compile(r"[a-z][a-z0-9]{0,9}-default-[0-9a-f]{8}")
_NOT_ID: Final = re.compile(r"[^a-z0-9]+")
_NOT_SESSION_NAME: Final = re.compile(r"[^\w+=,.@-]", re.ASCII)

_SERVICES: Final = {"elasticache": Service.ELASTICACHE, "memorydb": Service.MEMORYDB}
_WORDS: Final = {service: word for word, service in _SERVICES.items()}
_CACHE_TYPES: Final = {
    CacheKind.REPLICATION_GROUP: "replicationgroup",
    CacheKind.SERVERLESS_CACHE: "serverlesscache",
    CacheKind.MEMORYDB_CLUSTER: "cluster",
}
_ARN_PARTS: Final = 6
_ROLE_ARN: Final = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:role/(?:[\x21-\x7e]{1,510}/)?([\w+=,.@-]{1,64})", re.ASCII)
"""IAM: CreateRole's Path and RoleName."""

_PARTITIONS: Final = (
    # By region prefix, botocore's partitions.json (a test compares). No prefix is the beginning of another.
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("eusc-", "aws-eusc"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
)


def default_id(owner: str, namespace: str, name: str) -> str:
    """Return the id of a user or group in AWS that the resource doesn't set itself.

    Args:
        owner: This installation's owner, `[a-z][a-z0-9]{0,9}`.
        namespace: The resource's namespace.
        name: The resource's name.

    Returns:
        `<owner>-<readable>-<8 hex>`, at most 40 characters; without the readable part where a name has nothing to show.
    """
    return _joined(owner, _readable(name), _short_hash(f"{owner}/{namespace}/{name}"))


def default_user_id(owner: str, group_id: str) -> str:
    """Return the id of the disabled user *named* default that a redis group gets."""
    return _joined(owner, "default", _short_hash(group_id))


def is_reserved_id(user_id: str) -> bool:
    """Whether an id looks like that of a disabled default user, of any installation: no other user may have it."""
    return _RESERVED_ID.fullmatch(user_id) is not None


def role_name(owner: str, namespace: str, name: str) -> str:
    """Return the name of a managed role. It is unique in the account, so it has the same form as an id."""
    return default_id(owner, namespace, name)


def role_path(owner: str) -> str:
    """Return the IAM path of managed roles: it fences the operator's own rights, and lists its roles in pages."""
    return f"/elasticache-iam/{owner}/"


def granted_policy_name(owner: str, namespace: str, name: str) -> str:
    """Return the name of the one policy that we put into a role of somebody else's: at most 128 characters."""
    wanted = f"{GROUP}.{owner}.{namespace}.{name}"
    if len(wanted) <= _POLICY_NAME_LENGTH:
        return wanted
    kept = _POLICY_NAME_LENGTH - _HASH_LENGTH - 1
    return f"{wanted[:kept]}-{_short_hash(f'{owner}/{namespace}/{name}')}"


def secret_name(base: str, alias: str) -> str:
    """Return the name of the Secret for one cache. `base` holds no dots, so the names can't collide."""
    return base if alias == MAIN_ALIAS else f"{base}.{alias}"


def session_name(namespace: str, name: str) -> str:
    """Return an STS session name: what CloudTrail shows of who asked, 2 to 64 characters."""
    wanted = f"{namespace}.{name}"
    readable = _NOT_SESSION_NAME.sub("-", wanted)
    if readable == wanted and len(readable) <= _SESSION_NAME_LENGTH:
        return readable
    kept = _SESSION_NAME_LENGTH - _HASH_LENGTH - 1
    return f"{readable[:kept]}-{_short_hash(f'{namespace}/{name}')}"


def external_id(owner: str, namespace: str, name: str) -> str:
    r"""Return what the operator says to become a user's role where roles trust the operator itself.

    The characters and lengths of the three are within what STS takes: 2 to 1224 of [\w+=,.@:/-].
    """
    return f"{owner}/{namespace}/{name}"


def cluster_arn(region: str, account: str, name: str) -> str:
    """Return an EKS cluster's ARN."""
    return f"arn:{partition_of(region)}:eks:{region}:{account}:cluster/{name}"


def partition_of(region: str) -> str:
    """Return the AWS partition that a region belongs to."""
    for prefix, partition in _PARTITIONS:
        if region.startswith(prefix):
            return partition
    return "aws"


def user_arn(place: Place, user_id: str) -> str:
    """Return a user's ARN: ElastiCache puts a colon before the id, MemoryDB a slash."""
    return _arn(place, "user", user_id)


def group_arn(place: Place, group_id: str) -> str:
    """Return the ARN of a user group, or of an ACL."""
    return _arn(place, "acl" if place.service is Service.MEMORYDB else "usergroup", group_id)


def cache_arn(place: Place, cache: CacheRef) -> str:
    """Return a cache's ARN."""
    return _arn(place, _CACHE_TYPES[cache.kind], cache.id)


def place_of_arn(arn: str) -> Place | None:
    """Return where a user, group or cache is by its ARN; None for anything else."""
    parts = arn.split(":")
    if len(parts) < _ARN_PARTS or parts[2] not in _SERVICES:
        return None
    return Place(_SERVICES[parts[2]], account=parts[4], region=parts[3])


def service_word(service: Service) -> str:
    """Return a service's name in ARNs, which tokens are signed for, too."""
    return _WORDS[service]


def _arn(place: Place, kind: str, name: str) -> str:
    service, separator = service_word(place.service), "/" if place.service is Service.MEMORYDB else ":"
    return f"arn:{partition_of(place.region)}:{service}:{place.region}:{place.account}:{kind}{separator}{name}"


def role_arn(region: str, account: str, path: str, name: str) -> str:
    """Return a role's ARN. IAM is global: the region only tells the partition."""
    return f"arn:{partition_of(region)}:iam::{account}:role{path}{name}"


def role_name_of(arn: str) -> str | None:
    """Return the name of the role with an ARN; None for what can't be a role's, of which AWS needn't be asked."""
    found = _ROLE_ARN.fullmatch(arn)
    return found[1] if found else None


def oidc_provider_arn(region: str, account: str, issuer: str) -> str:
    """Return the ARN of the account's IAM OIDC provider for an issuer."""
    return f"arn:{partition_of(region)}:iam::{account}:oidc-provider/{issuer_host(issuer)}"


def issuer_host(issuer: str) -> str:
    """Return an issuer as IAM writes it in provider ARNs and condition keys: without scheme and trailing slash."""
    return issuer.removeprefix("https://").rstrip("/")


def ownership_tags(owner: str, kind: str, namespace: str, name: str, uid: str) -> dict[str, str]:
    """Return the AWS tags of everything we make."""
    return {TAG_OWNER: owner, TAG_KIND: kind, TAG_NAMESPACE: namespace, TAG_NAME: name, TAG_UID: uid}


def is_owned(tags: Mapping[str, str], *, owner: str, kind: str, namespace: str, name: str) -> bool:
    """Whether an AWS object belongs to that resource.

    The uid doesn't count: a cluster restored from a backup has new uids and still owns its objects.
    """
    wanted = {TAG_OWNER: owner, TAG_KIND: kind, TAG_NAMESPACE: namespace, TAG_NAME: name}
    return all(tags.get(key) == value for key, value in wanted.items())


def consents(tags: Mapping[str, str], *, owner: str, namespace: str | None) -> bool:
    """Whether the owner of an AWS object lets this installation's namespace use it; None: any of its namespaces.

    The tag holds `<owner>/<namespace>` or `<owner>` (every namespace), separated by spaces: AWS allows no `*` in tags.
    """
    allowed = tags.get(TAG_ALLOW, "").split()
    if namespace is None:
        return any(word == owner or word.startswith(f"{owner}/") for word in allowed)
    return owner in allowed or f"{owner}/{namespace}" in allowed


def with_consent(tags: Mapping[str, str], *, owner: str, namespace: str | None) -> str:
    """Return the tag's value with which `consents` holds; whom the object's owner said yes to before stays.

    Args:
        tags: The object's.
        owner: The installation.
        namespace: Of the resource; None: every namespace.
    """
    return " ".join([*tags.get(TAG_ALLOW, "").split(), f"{owner}/{namespace}" if namespace else owner])


def object_labels(owner: str, user_name: str) -> dict[str, str]:
    """Return the labels of every Kubernetes object we make for a user."""
    return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_OWNER: owner, LABEL_USER: user_name}


def _readable(name: str) -> str:
    return _NOT_ID.sub("-", name.lower()[:_READABLE_LENGTH]).strip("-")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def _joined(*parts: str) -> str:
    return "-".join(part for part in parts if part)
