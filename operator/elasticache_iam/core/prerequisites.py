"""What an installation needs of AWS and of the cluster, thing by thing, each with the command that brings it.

Pure: what was found goes in, one line for each thing comes out. What can't be looked at is told as such.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from elasticache_iam.api.keys import ANNOTATION_ROLE_ARN, OPERATOR_POLICY_NAME, STS_AUDIENCE
from elasticache_iam.core import commands
from elasticache_iam.core.diagnosis import Mark
from elasticache_iam.core.names import consents, role_name_of, with_consent
from elasticache_iam.core.plan.attachment import MIN_VERSIONS, has_iam
from elasticache_iam.core.policy import (
    MANAGED_POLICY_LIMIT,
    OperatorOptions,
    Verdict,
    compact_json,
    is_operator_policy,
    judge_pod_identity,
    judge_trust,
    options_of,
    pod_identity_trust,
    same_policy,
    trust_policy,
    unnamed_actions,
)
from elasticache_iam.core.state import ObservedCache, ObservedRole

MIN_KUBERNETES: Final = (1, 30)
"""Since then ValidatingAdmissionPolicies are stable."""
_STALE_LEASE: Final = timedelta(minutes=1)
"""The holder's clock and ours may differ by some seconds; a Lease is renewed each few."""
_MOST_NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """One thing.

    Attributes:
        section: What it is a part of, for people.
        mark: Whether it is there.
        says: One line.
        repair: The command that brings it, "" where there is none.
        is_seen: Whether it could be looked at.
    """

    section: str
    mark: Mark
    says: str
    repair: str = ""
    is_seen: bool = True


class Section:
    """Makes the prerequisites of one section."""

    def __init__(self, title: str) -> None:
        self._title = title

    def there(self, says: str) -> Prerequisite:
        """It is there."""
        return Prerequisite(self._title, Mark.WHOLE, says)

    def missing(self, says: str, repair: str) -> Prerequisite:
        """It isn't there."""
        return Prerequisite(self._title, Mark.BROKEN, says, repair)

    def untold(self, says: str, repair: str = "") -> Prerequisite:
        """It was looked at, and can't be told from that, or is a matter of taste."""
        return Prerequisite(self._title, Mark.UNTOLD, says, repair)

    def unseen(self, says: str) -> Prerequisite:
        """It couldn't be looked at: it may be missing."""
        return Prerequisite(self._title, Mark.UNTOLD, says, is_seen=False)


AWS: Final = Section("AWS")
ROLE: Final = Section("The operator's role")
CLUSTER: Final = Section("The cluster")
CACHES: Final = Section("Caches")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the operator is, or is to be.

    Attributes:
        namespace: Its namespace.
        name: Of its ServiceAccount and all else that the chart makes.
    """

    namespace: str
    name: str


# -- AWS --------------------------------------------------------------------------------------------------------------


def check_provider(
    audiences: frozenset[str] | None, *, issuer: str, audience: str, provider_arn: str
) -> Iterator[Prerequisite]:
    """Tell whether the account takes tokens of the cluster's issuer that are made for signing."""
    if audiences is None:
        says = f"there is no IAM OIDC provider for {issuer}"
        yield AWS.missing(says, commands.add_audience(issuer, audience, provider_arn=None))
    elif audience not in audiences:
        says = f"the OIDC provider of {issuer} doesn't take tokens for {audience}"
        yield AWS.missing(says, commands.add_audience(issuer, audience, provider_arn=provider_arn))
    else:
        yield AWS.there(f"the OIDC provider of {issuer} takes tokens for {audience}")
    if audience == STS_AUDIENCE:
        says = f"audience is {STS_AUDIENCE}: a stolen operator could become every IRSA role of the cluster"
        yield AWS.untold(says)


def check_boundary(arn: str | None, *, is_there: bool) -> Prerequisite:
    """Tell whether roles get a permissions boundary that exists."""
    if arn is None:
        says = "permissionsBoundary isn't set: a stolen operator could give a role of its own any right of the account"
        return AWS.untold(says, commands.create_boundary("elasticache-iam-boundary"))
    if not is_there:
        create = commands.create_boundary(arn.rpartition("/")[2])
        return AWS.missing(f"the permissions boundary {arn} isn't there", create)
    return AWS.there(f"the permissions boundary {arn}")


# -- the operator's role ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """How the operator's pods get their role.

    Attributes:
        place: Where they run.
        role_arn: The role; None: nobody has said.
        issuer: The cluster's issuer.
        provider_arn: The account's OIDC provider for it.
        cluster_arn: The EKS cluster, for Pod Identity; None: no name of it is known.
    """

    place: Place
    role_arn: str | None
    issuer: str
    provider_arn: str
    cluster_arn: str | None

    @property
    def subject(self) -> tuple[str, str]:
        """Namespace and name of the ServiceAccount."""
        return self.place.namespace, self.place.name


def check_role_known(identity: Identity, *, is_account_seen: bool) -> Prerequisite | None:
    """Tell what to do if nobody has said which role the operator has; None if it is known.

    Args:
        identity: What is known.
        is_account_seen: Whether the ServiceAccount was looked at, which may name it.
    """
    if identity.role_arn is not None:
        return None
    if not is_account_seen:
        return ROLE.unseen(
            "the ServiceAccount, which may name the role, wasn't looked at; say --operator-role ROLE_ARN"
        )
    place = identity.place
    annotate = (
        f"{commands.annotate_service_account(place.namespace, place.name, ANNOTATION_ROLE_ARN, 'ROLE_ARN')}"
        "   # or helm: serviceAccount.annotations; with Pod Identity: --operator-role ROLE_ARN"
    )
    return ROLE.missing(f"the ServiceAccount {place.namespace}/{place.name} names no role", annotate)


def check_role(role: ObservedRole | None, identity: Identity) -> Iterator[Prerequisite]:
    """Tell whether the role is there and admits the operator's pods."""
    arn, name = identity.role_arn or "", role_name_of(identity.role_arn or "") or "?"
    trust = trust_policy(
        provider_arn=identity.provider_arn,
        issuer=identity.issuer,
        audience=STS_AUDIENCE,
        subjects=(identity.subject,),
    )
    if role is None:
        says = f"the role {arn} isn't there"
        yield ROLE.missing(says, commands.create_role(name, trust))
        return
    yield ROLE.there(f"the role {role.arn}")
    who = "system:serviceaccount:{}:{}".format(*identity.subject)
    verdicts = {
        judge_trust(
            role.trust,
            provider_arn=identity.provider_arn,
            issuer=identity.issuer,
            audience=STS_AUDIENCE,
            subject=identity.subject,
            exact=False,
        )
    }
    if identity.cluster_arn is not None:
        verdicts.add(
            judge_pod_identity(role.trust, cluster_arn=identity.cluster_arn, subject=identity.subject, exact=False)
        )
        if "pods.eks.amazonaws.com" in str(role.trust):
            trust = pod_identity_trust(cluster_arn=identity.cluster_arn, subjects=(identity.subject,))
    if Verdict.YES in verdicts:
        yield ROLE.there(f"it admits {who}")
    elif Verdict.UNKNOWN in verdicts:
        yield ROLE.untold(f"whether it admits {who} depends on conditions that only AWS can judge")
    else:
        yield ROLE.missing(f"it doesn't admit {who}", commands.set_trust(name, trust, is_ours=True))


def check_policy(
    held: Mapping[str, Mapping[str, Any]],
    needed: Callable[[OperatorOptions], Mapping[str, Any]],
    print_policy: Callable[[OperatorOptions], str],
    *,
    role_name: str,
) -> Prerequisite:
    """Tell whether the role may do what this version's operator does.

    Args:
        held: All of its policies by name, or ARN of managed ones.
        needed: Makes this version's policy.
        print_policy: Makes the command that prints it.
        role_name: The role.
    """
    for name, document in held.items():
        if same_policy(document, needed(options_of([document]))):
            others = {other: there for other, there in held.items() if other != name and there.get("Statement")}
            return _check_beside(name, others, role_name=role_name)
    ours = [name for name, document in held.items() if is_operator_policy(document)]
    replaced = OPERATOR_POLICY_NAME if OPERATOR_POLICY_NAME in ours or not ours else ours[0]
    options = options_of([held[name] for name in ours] or held.values())
    wanted = needed(options)
    if commands.is_managed(replaced) and len(compact_json(wanted)) > MANAGED_POLICY_LIMIT:
        replaced = OPERATOR_POLICY_NAME  # beside the other one, which goes next
    put = commands.put_operator_policy(role_name, replaced, print_policy(options))
    actions = sorted({action for statement in wanted["Statement"] for action in statement["Action"]})
    if missing := unnamed_actions(held.values(), actions):
        return ROLE.missing(f"its policies lack {_named(missing)}", put)
    which = "all actions" if options.memorydb else "all actions but MemoryDB's"
    says = f"its policies name {which}, but aren't this version's: whether they fit can't be told from that"
    return ROLE.untold(says, put)


def _check_beside(found: str, others: Mapping[str, Mapping[str, Any]], *, role_name: str) -> Prerequisite:
    if not others:
        return ROLE.there("its policy is the one that this version needs")
    older = [name for name, document in others.items() if is_operator_policy(document)]
    remove = " && ".join(commands.remove_policy(role_name, name) for name in older)
    says = f"its policy {found} is the one that this version needs, but it has others beside it: {_named(others)}"
    return ROLE.untold(says, remove)


def _named(words: Collection[str]) -> str:
    first = list(words)[:_MOST_NAMED]
    rest = len(words) - len(first)
    return ", ".join(first) + (f" and {rest} more" if rest else "")


# -- the cluster ------------------------------------------------------------------------------------------------------


def check_version(git_version: str) -> Prerequisite:
    """Tell whether Kubernetes is new enough."""
    found = re.match(r"v(\d+)\.(\d+)", git_version)
    if found and (int(found[1]), int(found[2])) < MIN_KUBERNETES:
        needed = ".".join(map(str, MIN_KUBERNETES))
        says = f"Kubernetes {git_version}: {needed} or newer is needed, for admission policies"
        return CLUSTER.missing(says, "upgrade the cluster")
    return CLUSTER.there(f"Kubernetes {git_version}")


def check_crds(found: Mapping[str, Mapping[str, Any] | None], wanted: Iterable[Mapping[str, Any]]) -> Prerequisite:
    """Tell whether the CRDs are there, with all the fields that this version knows."""
    repair = "helm upgrade --install ... (crds.enabled), or: kubectl apply --server-side -f install.yaml"
    missing, old = [], []
    for crd in wanted:
        name = crd["metadata"]["name"]
        there = found.get(name)
        if there is None:
            missing.append(name)
        elif _fields(crd) - _fields(there):
            old.append(f"{name} ({_named(sorted(_fields(crd) - _fields(there)))})")
    if missing:
        return CLUSTER.missing(f"the CRDs aren't installed: {_named(missing)}", repair)
    if old:
        return CLUSTER.missing(f"the CRDs are older than this version and lack fields: {_named(old)}", repair)
    return CLUSTER.there("the CRDs")


def _fields(crd: Mapping[str, Any]) -> frozenset[str]:
    versions = {version["name"]: version for version in crd.get("spec", {}).get("versions", ())}
    schema = versions.get("v1alpha1", {}).get("schema", {}).get("openAPIV3Schema", {})
    return frozenset(_paths(schema, ""))


def _paths(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, child in (schema.get("properties") or {}).items():
        yield f"{prefix}{name}"
        yield from _paths(child, f"{prefix}{name}.")
        yield from _paths(child.get("items") or {}, f"{prefix}{name}[].")


def check_leader(holder: str, renewed_at: datetime | None, *, place: Place, now: datetime) -> Prerequisite:
    """Tell whether an operator runs and leads."""
    look = f"kubectl -n {place.namespace} get pods,events"
    if not holder or renewed_at is None:
        return CLUSTER.missing("no operator leads", look)
    if now - renewed_at > _STALE_LEASE:
        ago = int((now - renewed_at).total_seconds())
        return CLUSTER.missing(f"no operator leads: {holder} did, and was last heard of {ago} s ago", look)
    return CLUSTER.there(f"the operator runs; {holder} leads")


def check_service_account(
    annotations: Mapping[str, str] | None, *, place: Place, owner: str, region: str
) -> Prerequisite:
    """Tell whether the operator's ServiceAccount is there; owner and region are for the command that makes it."""
    if annotations is None:
        says = f"there is no ServiceAccount {place.namespace}/{place.name}"
        install = commands.install(place.name, place.namespace, owner=owner, region=region)
        return CLUSTER.missing(says, f"{install}   # elsewhere, or called otherwise: --operator-namespace, --name")
    return CLUSTER.there(f"the ServiceAccount {place.namespace}/{place.name}")


def check_rights(missing: str) -> Prerequisite:
    """Tell which rights the operator's ServiceAccount lacks: those in words, "" for none."""
    if missing:
        says = f"the operator's ServiceAccount may not {missing}"
        return CLUSTER.missing(says, "helm upgrade ... (rbac.create), or apply the roles of install.yaml")
    return CLUSTER.there("the operator's ServiceAccount has the rights that it needs")


def check_secret_reads(allowed: str) -> Prerequisite:
    """Tell whether the operator could read Secrets, by rights that it isn't meant to have: in words, "" for none."""
    if allowed:
        says = f"the operator's ServiceAccount may {allowed}: whoever steals it reads them all"
        return CLUSTER.missing(
            says, "take that role binding away: kubectl get clusterrolebindings,rolebindings -A -o wide"
        )
    return CLUSTER.there("the operator's ServiceAccount can't read Secrets")


def check_fence(policies: Collection[str], bindings: Collection[str], *, place: Place) -> Prerequisite:
    """Tell whether the admission policies that fence the operator are in force."""
    wanted = [f"{place.name}-{what}" for what in ("secrets", "tokens", "specs")]
    missing = [name for name in wanted if name not in policies or name not in bindings]
    if missing:
        says = f"the admission policies that fence the operator aren't in force: {_named(missing)}"
        return CLUSTER.missing(says, "helm upgrade ... --set fence.enabled=true, or apply those of install.yaml")
    return CLUSTER.there("admission policies fence the operator's writes")


# -- caches -----------------------------------------------------------------------------------------------------------


def check_cache(
    cache: ObservedCache, tags: Mapping[str, str], *, owner: str, namespace: str | None, region: str
) -> Iterator[Prerequisite]:
    """Tell whether a group can be attached to a cache, as far as AWS and its owner go.

    Args:
        cache: What AWS has.
        tags: Its tags.
        owner: The installation.
        namespace: Of the UserGroup that is to be attached; None if it isn't known: any may be.
        region: Of the cache.
    """
    cache_id, faults = cache.ref.id, 0
    if not cache.tls:
        faults += 1
        yield CACHES.missing(f"{cache_id} has no encryption in transit", commands.turn_on_tls(cache.ref, region))
    if not has_iam(cache.engine, cache.engine_version):
        faults += 1
        needed = " or ".join(f"{engine} {major}.{minor}" for engine, (major, minor) in MIN_VERSIONS.items())
        says = f"{cache_id} runs {cache.engine} {cache.engine_version}; IAM needs {needed}"
        yield CACHES.missing(says, commands.upgrade(cache.ref, region, "7.1"))
    if cache.auth_token_enabled:
        faults += 1
        says = f"{cache_id} has an AUTH token, which has to go first: its clients become users before"
        yield CACHES.missing(says, "")
    if not consents(tags, owner=owner, namespace=namespace):
        faults += 1
        agree = commands.consent(cache.arn, with_consent(tags, owner=owner, namespace=namespace))
        yield CACHES.missing(f"the owner of {cache_id} hasn't agreed", agree)
    if not faults:
        state = f"has the group {', '.join(sorted(cache.future_group_ids))}" if cache.future_group_ids else "is open"
        note = (
            ""
            if cache.future_group_ids
            else "; attaching needs attachment.policy: Attach, and cuts off who has no user"
        )
        yield CACHES.there(
            f"{cache_id}: {cache.engine} {cache.engine_version}, TLS, its owner agrees; it {state}{note}"
        )


def check_any_cache(*, found: int, listed: int) -> Prerequisite | None:
    """Tell what to do where no cache was looked at; None if one was."""
    if listed:
        return None
    return CACHES.untold(
        f"no UserGroup names a cache and no cache's owner has agreed ({found} are there); look at one: --cache ID"
    )


# -- for programs -----------------------------------------------------------------------------------------------------


def prerequisites_document(found: Collection[Prerequisite]) -> dict[str, Any]:
    """Return prerequisites as a JSON document: ready is what was looked at as a whole, and lacks nothing."""
    words = {Mark.WHOLE: "ok", Mark.BROKEN: "missing", Mark.UNTOLD: "unknown"}
    return {
        "ready": all(each.is_seen and each.mark is not Mark.BROKEN for each in found),
        "checks": [
            {
                "section": each.section,
                "state": words[each.mark],
                "seen": each.is_seen,
                "says": each.says,
                "repair": each.repair or None,
            }
            for each in found
        ],
    }
