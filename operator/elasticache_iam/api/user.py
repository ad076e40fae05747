"""ElastiCacheIAMUser: the application team's side. A user in AWS, its role, its tokens in Secrets."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from elasticache_iam.api.access import Access
from elasticache_iam.api.base import NAME_RULE, ApiModel, Condition, Metadata
from elasticache_iam.api.group import DeletionPolicy
from elasticache_iam.api.schema import (
    EMPTY_MAP,
    Reason,
    Rule,
    Schema,
    at_most,
    immutable,
    items_at_most,
    list_map,
)
from elasticache_iam.api.syntax import (
    Alias,
    ConfigMapName,
    DnsLabel,
    RoleArn,
    SecretAnnotations,
    SecretLabels,
    SecretName,
    ServiceAccountName,
    Tags,
    Template,
    UserId,
)

REFRESH_LIMIT: Final = 1024
"""Characters of the annotation refresh that a status takes."""


class RoleMode(StrEnum):
    """Whose the IAM role is."""

    MANAGED = "Managed"
    EXISTING = "Existing"
    EXTERNAL = "External"
    NONE = "None"


class RoleBinding(StrEnum):
    """How a workload that signs for itself gets the role."""

    IRSA = "IRSA"
    POD_IDENTITY = "PodIdentity"


class DeliveryMode(StrEnum):
    """How the token reaches the workload."""

    SECRET = "Secret"  # noqa: S105  # a Kubernetes kind
    NONE = "None"


class UserAdoption(StrEnum):
    """What to do with a user that exists in AWS already."""

    NEVER = "Never"
    ADOPT = "Adopt"


class GroupRef(ApiModel):
    """The UserGroup to join; `namespace` defaults to the user's own, `caches` to all of the group's."""

    name: DnsLabel
    """The UserGroup's name."""

    namespace: DnsLabel | None = None
    """The UserGroup's namespace; this resource's own by default. Another one must admit this namespace."""

    caches: Annotated[tuple[Alias, ...], Field(min_length=1, max_length=32)] | None = None
    """Names in the group's spec.caches to get tokens for; all of the group's by default."""


class Role(ApiModel):
    """The IAM role that tokens are signed with."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(self.mode in ['Existing', 'External']) || has(self.arn)",
            message="role.arn is required with role.mode Existing and External",
            holds=lambda role: role.mode not in {RoleMode.EXISTING, RoleMode.EXTERNAL} or role.arn is not None,
            field=".arn",
            reason=Reason.REQUIRED,
        ),
        Rule(
            cel="self.mode in ['Existing', 'External'] || !has(self.arn)",
            message="role.arn goes with role.mode Existing and External only: a Managed role gets a generated name",
            holds=lambda role: role.mode in {RoleMode.EXISTING, RoleMode.EXTERNAL} or role.arn is None,
            field=".arn",
            reason=Reason.FORBIDDEN,
        ),
    )

    mode: RoleMode = RoleMode.MANAGED
    """Whose the role is. Managed (default): ours, made and deleted with this resource. Existing: yours, we add one
    inline policy if its tag elasticache-iam.dev/allow says so. External: yours, only checked, the missing parts are
    shown in status. None: no role at all, for people and for workloads outside the cluster."""

    arn: RoleArn | None = None
    """The role's ARN; required with Existing and External."""

    binding: RoleBinding = RoleBinding.IRSA
    """How a workload that signs for itself gets the role: IRSA (default) or PodIdentity."""


class SecretDelivery(ApiModel):
    """The Secret of the cache `main`; other caches' are called `<name>.<alias>`."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        immutable("name", "workloads mount the Secret by it; make a new ElastiCacheIAMUser"),
    )

    name: SecretName | None = None
    """The Secret's name; this resource's name by default. Other caches than main get <name>.<cache>. Immutable."""

    labels: Annotated[SecretLabels, EMPTY_MAP] = Field(default_factory=dict)
    """Labels for the Secret. None are copied from this resource."""

    annotations: Annotated[SecretAnnotations, EMPTY_MAP] = Field(default_factory=dict)
    """Annotations for the Secret. None are copied from this resource."""

    template: Template = Field(default_factory=dict)
    """More keys for the Secret, or other values for its own: key to Liquid template over type, provider, host, port,
    reader_host, username, password, uri, ca, region, cache_id, service and expires_at."""


class ConfigMapDelivery(ApiModel):
    """Token-free settings."""

    name: ConfigMapName
    """The ConfigMap's name."""

    template: Template = Field(default_factory=dict)
    """The ConfigMap's keys: key to Liquid template, over the same variables as the Secret's but password, uri and
    expires_at. They speak of the cache main, or else of the first; caches.<name> has those of each."""


MAX_TEMPLATE_CHARACTERS: Final = 32768
"""All templates of one resource: they are parsed and rendered on the loop that keeps everybody's tokens fresh."""


def _template_characters(delivery: "Delivery") -> int:
    config_map = delivery.config_map
    templates = (delivery.secret.template, config_map.template if config_map is not None else {})
    return sum(len(text) for template in templates for text in template.values())


def _cel_characters(holder: str) -> str:
    template = f"{holder}.template"
    return f"(has({holder}) && has({template}) ? {template}.map(key, size({template}[key])).sum() : 0)"


class Delivery(ApiModel):
    """How the workload learns what it needs."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"{_cel_characters('self.secret')} + {_cel_characters('self.configMap')} <= {MAX_TEMPLATE_CHARACTERS}",
            message=f"the templates of secret and configMap together may have {MAX_TEMPLATE_CHARACTERS} characters: "
            "they are for settings",
            holds=lambda delivery: _template_characters(delivery) <= MAX_TEMPLATE_CHARACTERS,
        ),
    )

    mode: DeliveryMode = DeliveryMode.SECRET
    """Secret (default): tokens in Secrets, always fresh. None: the workload signs its own."""

    secret: SecretDelivery = SecretDelivery()
    """The Secrets that hold tokens, one for each cache."""

    config_map: ConfigMapDelivery | None = None
    """A ConfigMap with settings that hold no token."""


def _self_signing_irsa(spec: "ElastiCacheIAMUserSpec") -> bool:
    """Whether an annotation on the ServiceAccount would do anything."""
    return (
        spec.delivery.mode is DeliveryMode.NONE
        and spec.role.binding is RoleBinding.IRSA
        and spec.role.mode is not RoleMode.NONE
    )


class ElastiCacheIAMUserSpec(ApiModel):
    """What the application team asks for."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        immutable("id", "the user in AWS keeps its name for ever; make a new ElastiCacheIAMUser"),
        Rule(
            cel="self.role.mode != 'None' || self.delivery.mode == 'None'",
            message="role.mode None needs delivery.mode None: without a role there is nothing to sign tokens with",
            holds=lambda spec: spec.role.mode is not RoleMode.NONE or spec.delivery.mode is DeliveryMode.NONE,
            field=".delivery.mode",
        ),
        Rule(
            cel="self.role.mode == 'None' || (has(self.serviceAccounts) && size(self.serviceAccounts) > 0)",
            message="serviceAccounts needs at least one name, unless role.mode is None",
            holds=lambda spec: spec.role.mode is RoleMode.NONE or bool(spec.service_accounts),
            field=".serviceAccounts",
            reason=Reason.REQUIRED,
        ),
        Rule(
            cel="self.role.mode != 'None' || !has(self.serviceAccounts) || size(self.serviceAccounts) == 0",
            message="serviceAccounts must be empty with role.mode None: there is no role that they could use",
            holds=lambda spec: spec.role.mode is not RoleMode.NONE or not spec.service_accounts,
            field=".serviceAccounts",
            reason=Reason.FORBIDDEN,
        ),
        Rule(
            cel="self.role.binding != 'PodIdentity' || self.delivery.mode == 'None'",
            message="role.binding PodIdentity needs delivery.mode None: it is for workloads that sign for themselves",
            holds=lambda spec: (
                spec.role.binding is not RoleBinding.POD_IDENTITY or spec.delivery.mode is DeliveryMode.NONE
            ),
            field=".role.binding",
        ),
        Rule(
            cel="!self.annotateServiceAccounts || (self.delivery.mode == 'None' && self.role.binding == 'IRSA' "
            "&& self.role.mode != 'None')",
            message="annotateServiceAccounts needs delivery.mode None, role.binding IRSA and a role: the annotation "
            "changes which AWS identity new pods get",
            holds=lambda spec: not spec.annotate_service_accounts or _self_signing_irsa(spec),
            field=".annotateServiceAccounts",
        ),
        Rule(
            cel="self.adoption == 'Never' || has(self.id)",
            message="id is required with adoption Adopt: the id of the user that exists in AWS",
            holds=lambda spec: spec.adoption is UserAdoption.NEVER or spec.id is not None,
            field=".id",
            reason=Reason.REQUIRED,
        ),
    )

    groups: Annotated[tuple[GroupRef, ...], Field(min_length=1, max_length=1)]
    """The UserGroup to join: exactly one in this version."""

    id: UserId | None = None
    """The user's id in AWS, and its name in Redis. Generated from owner, namespace and name by default. In another
    namespace's group an id of your choice needs that group's leave. Immutable."""

    access: Access
    """What the user may do: a preset with keys, or a raw access string."""

    service_accounts: Annotated[tuple[ServiceAccountName, ...], Field(max_length=16)] = ()
    """ServiceAccounts of this namespace that may use the role. Tokens are signed as the first."""

    role: Role = Role()
    """The IAM role that tokens are signed with."""

    annotate_service_accounts: bool = False
    """Whether to write the role's ARN to the ServiceAccounts, for workloads that sign for themselves with IRSA. An
    annotation that is there already is never replaced."""

    delivery: Delivery = Delivery()
    """How the workload gets tokens and settings."""

    suspend: bool = False
    """Cut the user off: remove its Secrets and take it out of the group, which ends its connections."""

    adoption: UserAdoption = UserAdoption.NEVER
    """What to do with a user that exists in AWS already. Never (default) leaves it alone; Adopt takes it over if its
    AWS tag elasticache-iam.dev/allow says so."""

    deletion_policy: DeletionPolicy = DeletionPolicy.DELETE
    """What happens to the AWS user and role when this resource is deleted: Delete (default) or Retain."""

    tags: Annotated[Tags, EMPTY_MAP] = Field(default_factory=dict)
    """AWS tags for the user and its role; the operator's configuration says which keys are allowed."""


class SecretRef(ApiModel):
    """A Secret that we created; the uid is what tells it from somebody else's of the same name."""

    name: Annotated[str, at_most(253)]
    """The Secret's name."""

    uid: Annotated[str, at_most(64)] = ""
    """The Secret's uid."""


class ConfigMapRef(ApiModel):
    """The ConfigMap that we created, or are about to; a digest tells what it holds, so that it need not be read."""

    name: Annotated[str, at_most(253)]
    """The ConfigMap's name."""

    uid: Annotated[str, at_most(64)] = ""
    """The ConfigMap's uid; empty before it is made."""

    digest: Annotated[str, at_most(64)] = ""
    """Of what was last written."""


class UserCacheStatus(ApiModel):
    """One cache and all that minting for it needs, so that a refresh never asks AWS."""

    name: Annotated[str, at_most(63)]
    """The name in the group's spec.caches."""

    id: Annotated[str, at_most(64)]
    """The cache's id in AWS; tokens are signed for it."""

    arn: Annotated[str, at_most(2048)]
    """The cache's ARN."""

    service: Annotated[str, at_most(32)] = "elasticache"
    """What tokens are signed for: elasticache or memorydb."""

    serverless: bool = False
    """Whether the cache is serverless, which a token must say."""

    region: Annotated[str, at_most(32)]
    """The cache's region."""

    host: Annotated[str, at_most(512)]
    """Where clients connect to."""

    port: Annotated[int, Schema({"format": "int32", "minimum": 0, "maximum": 65535})]
    """The port there."""

    reader_host: Annotated[str, at_most(512)] = ""
    """Where clients read from replicas, if there is such a place."""

    secret: SecretRef | None = None
    """The Secret that holds the token."""


class RoleStatus(ApiModel):
    """The role; `trust` and `policy` only where somebody else must write them."""

    arn: Annotated[str, at_most(2048)] = ""
    """The role's ARN."""

    unique_id: Annotated[str, at_most(128)] = ""
    """IAM's own id of the role. A role of the same name that was made anew has another, and its sessions are others."""

    max_session_seconds: Annotated[int, Schema({"format": "int32", "minimum": 0})] = 3600
    """How long a session of the role may last, in seconds."""

    trust: Annotated[tuple[Mapping[str, Any], ...], items_at_most(16)] = ()
    """Statements that the role's trust policy must hold and we may not write."""

    policy: Annotated[tuple[Mapping[str, Any], ...], items_at_most(16)] = ()
    """Statements that the role's policies must hold and we may not write."""


class AssociationStatus(ApiModel):
    """An EKS Pod Identity association that we made."""

    service_account: Annotated[str, at_most(253)]
    """The ServiceAccount whose pods get the role."""

    id: Annotated[str, at_most(64)]
    """The association's id."""


class AccessStringStatus(ApiModel):
    """The last string sent and what AWS made of it: a console edit is seen, AWS's own rewriting is not."""

    sent: Annotated[str, at_most(32768)] = ""
    """The access string last sent to AWS."""

    returned: Annotated[str, at_most(32768)] = ""
    """What AWS made of it."""


class ChainStatus(ApiModel):
    """What logins depend on in AWS, as a digest: role, membership, attachment, engine."""

    seen: Annotated[str, at_most(64)] = ""
    """As it was last found. A change has the next token tried."""

    proven: Annotated[str, at_most(64)] = ""
    """As it was when logins were last seen to work after a change."""


class BindingStatus(ApiModel):
    """Service Binding: the Secret of the main cache."""

    name: Annotated[str, at_most(253)]
    """The Secret's name."""


class ElastiCacheIAMUserStatus(ApiModel):
    """What we know and did."""

    observed_generation: Annotated[int, Schema({"format": "int64", "minimum": -1})] = -1
    """The metadata.generation last acted upon; -1 until first looked at."""

    conditions: Annotated[tuple[Condition, ...], items_at_most(32), list_map("type")] = ()
    """Ready, UserSynced, MembershipSynced, AccessGranted, TokenDelivered and Verified; Reconciling and Stalled only
    while true."""

    id: Annotated[str, at_most(64)] = ""
    """The user's id in AWS, and its name in Redis."""

    arn: Annotated[str, at_most(2048)] = ""
    """The user's ARN."""

    role: RoleStatus | None = None
    """The IAM role that tokens are signed with."""

    pod_identity: Annotated[tuple[AssociationStatus, ...], items_at_most(64), list_map("serviceAccount")] = ()
    """The EKS Pod Identity associations that we made, with role.binding PodIdentity."""

    access_string: AccessStringStatus | None = None
    """The access string, as sent and as AWS has it."""

    refresh: Annotated[str, at_most(REFRESH_LIMIT)] = ""
    """The value of the annotation refresh that was last answered with new tokens."""

    caches: Annotated[tuple[UserCacheStatus, ...], items_at_most(64), list_map("name")] = ()
    """The caches that this user has tokens for."""

    chain: ChainStatus | None = None
    """What logins depend on in AWS, and what of it a login has proven."""

    binding: BindingStatus | None = None
    """The Secret for Service Binding: that of the cache main."""

    config_map: ConfigMapRef | None = None
    """The ConfigMap with settings, where spec.delivery asks for one."""

    plan: Annotated[tuple[Annotated[str, at_most(4096)], ...], items_at_most(256)] = ()
    """What would be done, line by line, while the annotation plan-only is set."""


class ElastiCacheIAMUser(ApiModel):
    """A Redis or Valkey user that logs in through IAM.

    That is: the user in AWS, its place in a UserGroup, its IAM role, and a Secret with an always-fresh token for each
    cache.
    """

    RULES: ClassVar[tuple[Rule, ...]] = (NAME_RULE,)

    metadata: Metadata
    spec: ElastiCacheIAMUserSpec
    """What is asked for."""

    status: ElastiCacheIAMUserStatus = ElastiCacheIAMUserStatus()
    """What was found and done."""
