"""Manifests that the API server and the operator's own parser must judge alike."""

import copy
from dataclasses import dataclass, field
from typing import Any

ABSENT = object()
ROLE_ARN = "arn:aws:iam::111122223333:role/team/orders"

USER = {
    "apiVersion": "elasticache-iam.dev/v1alpha1",
    "kind": "ElastiCacheIAMUser",
    "metadata": {"name": "checkout", "namespace": "default"},
    "spec": {
        "groups": [{"name": "orders", "namespace": "platform"}],
        "access": {"preset": "ReadWrite", "keys": ["orders:*"]},
        "serviceAccounts": ["checkout"],
    },
}
GROUP = {
    "apiVersion": "elasticache-iam.dev/v1alpha1",
    "kind": "UserGroup",
    "metadata": {"name": "orders", "namespace": "default"},
    "spec": {
        "engine": "valkey",
        "caches": [{"replicationGroup": "orders-prod"}],
        "admission": [
            {"namespaces": {"names": ["shop"]}, "limit": {"preset": "ReadWrite", "keys": ["orders:*"]}},
        ],
    },
}
BASES = {"user": USER, "group": GROUP}


def manifest(base: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the minimal user or group with changes: dotted path (numbers index lists) to value or ABSENT."""
    document: dict[str, Any] = copy.deepcopy(BASES[base])
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        node: Any = document
        for part in parents:
            node = node[int(part)] if part.isdigit() else node.setdefault(part, {})
        if value is ABSENT:
            del node[last]
        else:
            node[int(last) if last.isdigit() else last] = value
    return document


@dataclass(frozen=True)
class Refused:
    """A manifest that must be refused, with a message that names the field and says what is wrong."""

    claim: str
    base: str
    changes: dict[str, Any]
    field: str
    says: str
    parser_too: bool = True
    """Whether our own parser refuses it as well; not where only the API server can know (duplicate keys)."""


@dataclass(frozen=True)
class Accepted:
    """A manifest that must be accepted."""

    claim: str
    base: str
    changes: dict[str, Any] = field(default_factory=dict)


def ids(cases: list[Any]) -> list[str]:
    """Return the claims, as pytest ids."""
    return [case.claim.replace(" ", "-") for case in cases]


def user(claim: str, changes: dict[str, Any], at: str, says: str, **more: Any) -> Refused:
    """Return a user that must be refused."""
    return Refused(claim, "user", changes, at, says, **more)


def group(claim: str, changes: dict[str, Any], at: str, says: str, **more: Any) -> Refused:
    """Return a group that must be refused."""
    return Refused(claim, "group", changes, at, says, **more)


ID_SAYS = "must start with a letter and hold only lower-case letters"
KEY_SAYS = "printable ASCII without spaces"
PASSWORD_SAYS = "must not hold password rules"
LINE_SAYS = "one line of printable ASCII"
ARN_SAYS = "must be the ARN of one IAM role"
LIMIT = "spec.admission.0.limit"

REFUSED = [
    # names
    user("a name with dots", {"metadata.name": "check.out"}, "metadata.name", "without dots"),
    group("a group's name with dots", {"metadata.name": "or.ders"}, "metadata.name", "without dots"),
    user("a name of 64", {"metadata.name": "a" * 64}, "metadata.name", "63"),
    # ids
    user("an upper-case id", {"spec.id": "Checkout"}, "spec.id", ID_SAYS),
    user("an id that starts with a digit", {"spec.id": "1checkout"}, "spec.id", ID_SAYS),
    user("an id with a double hyphen", {"spec.id": "check--out"}, "spec.id", ID_SAYS),
    user("an id that ends with a hyphen", {"spec.id": "checkout-"}, "spec.id", ID_SAYS),
    user("an empty id", {"spec.id": ""}, "spec.id", ID_SAYS),
    user("an id of 41", {"spec.id": "a" * 41}, "spec.id", "40"),
    user("an id with a line break", {"spec.id": "checkout\n"}, "spec.id", ID_SAYS),
    user("an id that changes the signed host", {"spec.id": "checkout@evil.example"}, "spec.id", ID_SAYS),
    user("an id that adds to the signed query", {"spec.id": "checkout&x=1"}, "spec.id", ID_SAYS),
    user("an id in look-alike letters", {"spec.id": "\u0441heckout"}, "spec.id", ID_SAYS),
    user("the id default", {"spec.id": "default"}, "spec.id", "built-in user"),
    user("an id of AWS's own", {"spec.id": "default.iam-user"}, "spec.id", ID_SAYS),
    user("adoption without an id", {"spec.adoption": "Adopt"}, "spec.id", "required with adoption Adopt"),
    group("an upper-case group id", {"spec.id": "Orders"}, "spec.id", ID_SAYS),
    group("the group id open-access", {"spec.id": "open-access"}, "spec.id", "belong to AWS"),
    group("the group id default", {"spec.id": "default"}, "spec.id", "belong to AWS"),
    # groups
    user("no group", {"spec.groups": []}, "spec.groups", "at least 1"),
    user("no field groups", {"spec.groups": ABSENT}, "spec.groups", "equired"),
    user("two groups", {"spec.groups": [{"name": "a"}, {"name": "b"}]}, "spec.groups", "at most 1"),
    user("a group without a name", {"spec.groups": [{"namespace": "a"}]}, "spec.groups[0].name", "equired"),
    user("a group's name that can't be", {"spec.groups": [{"name": "a/b"}]}, "spec.groups[0].name", "no dots"),
    user(
        "a namespace that can't be",
        {"spec.groups.0.namespace": "../kube-system"},
        "spec.groups[0].namespace",
        "no dots",
    ),
    user("an empty choice of caches", {"spec.groups.0.caches": []}, "spec.groups[0].caches", "at least 1"),
    user("a cache's name with a dot", {"spec.groups.0.caches": ["a.b"]}, "spec.groups[0].caches[0]", "a cache's name"),
    # access
    user("no access", {"spec.access": ABSENT}, "spec.access", "equired"),
    user("an empty access", {"spec.access": {}}, "spec.access", "exactly one of preset and accessString"),
    user(
        "a preset and an access string",
        {"spec.access.accessString": "on ~* +@read", "spec.access.keys": ABSENT},
        "spec.access",
        "exactly one of preset and accessString",
    ),
    user("an unknown preset", {"spec.access.preset": "Root"}, "spec.access.preset", "ReadOnly"),
    user("ReadWrite without keys", {"spec.access": {"preset": "ReadWrite"}}, "spec.access.keys", "keys is required"),
    user("ReadOnly with no key", {"spec.access": {"preset": "ReadOnly", "keys": []}}, "spec.access.keys", "required"),
    user("Admin with keys", {"spec.access.preset": "Admin"}, "spec.access.preset", "remove keys and channels"),
    user(
        "Admin with channels",
        {"spec.access": {"preset": "Admin", "channels": ["*"]}},
        "spec.access.preset",
        "remove keys and channels",
    ),
    user(
        "an access string with keys",
        {"spec.access": {"accessString": "on ~* +@read", "keys": ["a"]}},
        "spec.access.accessString",
        "remove keys and channels",
    ),
    user(
        "a key that starts a new rule",
        {"spec.access.keys": ["orders:* +@all"]},
        "spec.access.keys[0]",
        KEY_SAYS,
    ),
    user("a key with a line break", {"spec.access.keys": ["orders:*\n+@all"]}, "spec.access.keys[0]", KEY_SAYS),
    user("a key that ends in a line break", {"spec.access.keys": ["orders:*\n"]}, "spec.access.keys[0]", KEY_SAYS),
    user("a key with a tab", {"spec.access.keys": ["a\t+@all"]}, "spec.access.keys[0]", KEY_SAYS),
    user("a key with a no-break space", {"spec.access.keys": ["a\u00a0b"]}, "spec.access.keys[0]", KEY_SAYS),
    user("a key with a NUL", {"spec.access.keys": ["a\x00b"]}, "spec.access.keys[0]", KEY_SAYS),
    user("an empty key", {"spec.access.keys": [""]}, "spec.access.keys[0]", KEY_SAYS),
    user("a key of 257", {"spec.access.keys": ["a" * 257]}, "spec.access.keys[0]", "256"),
    user("65 keys", {"spec.access.keys": ["a"] * 65}, "spec.access.keys", "64"),
    user("a channel that starts a new rule", {"spec.access.channels": ["a &*"]}, "spec.access.channels[0]", KEY_SAYS),
    *(
        user(f"an access string with {word}", {"spec.access": {"accessString": text}}, "spec.access.accessString", says)
        for word, text, says in [
            ("a password", "on ~* +@all >hunter2", PASSWORD_SAYS),
            ("a removed password", "on <hunter2 ~* +@all", PASSWORD_SAYS),
            ("a hash", "on #" + "0" * 64 + " ~* +@all", PASSWORD_SAYS),
            ("a removed hash", "on !" + "0" * 64 + " ~* +@all", PASSWORD_SAYS),
            ("nopass", "on nopass ~* +@all", PASSWORD_SAYS),
            ("NoPass", "on ~* +@all NoPass", PASSWORD_SAYS),
            ("resetpass", "resetpass on ~* +@all", PASSWORD_SAYS),
            ("reset", "reset on ~* +@all", PASSWORD_SAYS),
            ("nopass in a selector", "on (nopass ~* +@all)", PASSWORD_SAYS),
            ("a line break", "on ~* +@read\n", LINE_SAYS),
            ("a tab", "on\t~* +@read", LINE_SAYS),
            ("an accent", "on ~café:* +@read", LINE_SAYS),
            ("only spaces", "   ", LINE_SAYS),
            ("nothing", "", LINE_SAYS),
            ("4097 characters", "o" * 4097, "4096"),
            ("129 words", "on ~a" + " +get" * 127, "at most 128 words"),
            ("17 selectors", "on" + " (~a +get)" * 17, "16 selectors"),
        ]
    ),
    # service accounts and role
    user("no service account", {"spec.serviceAccounts": ABSENT}, "spec.serviceAccounts", "at least one name"),
    user("an empty list of service accounts", {"spec.serviceAccounts": []}, "spec.serviceAccounts", "at least one"),
    user(
        "a service account of another namespace",
        {"spec.serviceAccounts": ["kube-system:default"]},
        "spec.serviceAccounts[0]",
        "in this namespace",
    ),
    user(
        "a service account that is a pattern", {"spec.serviceAccounts": ["*"]}, "spec.serviceAccounts[0]", "must be the"
    ),
    user("an existing role without ARN", {"spec.role": {"mode": "Existing"}}, "spec.role.arn", "arn is required"),
    user("an external role without ARN", {"spec.role": {"mode": "External"}}, "spec.role.arn", "arn is required"),
    user("a managed role with ARN", {"spec.role": {"arn": ROLE_ARN}}, "spec.role.arn", "Existing and External only"),
    *(
        user(f"a role ARN {word}", {"spec.role": {"mode": "Existing", "arn": arn}}, "spec.role.arn", ARN_SAYS)
        for word, arn in [
            ("with a wildcard", "arn:aws:iam::111122223333:role/*"),
            ("with a policy variable", "arn:aws:iam::111122223333:role/${aws:username}"),
            ("of a user", "arn:aws:iam::111122223333:user/orders"),
            ("of an assumed role", "arn:aws:sts::111122223333:assumed-role/orders/session"),
            ("with a short account", "arn:aws:iam::1111:role/orders"),
            ("without an account", "arn:aws:iam:::role/orders"),
            ("of no partition", "arn:evil:iam::111122223333:role/orders"),
            ("without a name", "arn:aws:iam::111122223333:role/team/"),
            ("with a line break", ROLE_ARN + "\n"),
            ("of a root account", "arn:aws:iam::111122223333:root"),
        ]
    ),
    user("an unknown role mode", {"spec.role": {"mode": "Mine"}}, "spec.role.mode", "Managed"),
    user(
        "tokens without a role",
        {"spec.role": {"mode": "None"}, "spec.serviceAccounts": ABSENT},
        "spec.delivery.mode",
        "needs delivery.mode None",
    ),
    user(
        "service accounts without a role",
        {"spec.role": {"mode": "None"}, "spec.delivery": {"mode": "None"}},
        "spec.serviceAccounts",
        "must be empty with role.mode None",
    ),
    user(
        "pod identity with tokens",
        {"spec.role": {"binding": "PodIdentity"}},
        "spec.role.binding",
        "needs delivery.mode None",
    ),
    user(
        "an annotation where tokens are delivered",
        {"spec.annotateServiceAccounts": True},
        "spec.annotateServiceAccounts",
        "needs delivery.mode None",
    ),
    user(
        "an annotation with pod identity",
        {
            "spec.annotateServiceAccounts": True,
            "spec.delivery": {"mode": "None"},
            "spec.role": {"binding": "PodIdentity"},
        },
        "spec.annotateServiceAccounts",
        "role.binding IRSA",
    ),
    user(
        "an annotation without a role",
        {
            "spec.annotateServiceAccounts": True,
            "spec.delivery": {"mode": "None"},
            "spec.role": {"mode": "None"},
            "spec.serviceAccounts": ABSENT,
        },
        "spec.annotateServiceAccounts",
        "and a role",
    ),
    # delivery
    user(
        "a Secret's name that can't be",
        {"spec.delivery": {"secret": {"name": "Orders"}}},
        "spec.delivery.secret.name",
        "must be the name of a Secret",
    ),
    user(
        "a Secret's name too long for a cache's name behind it",
        {"spec.delivery": {"secret": {"name": "a" * 190}}},
        "spec.delivery.secret.name",
        "189",
    ),
    user(
        "a label of the operator's",
        {"spec.delivery": {"secret": {"labels": {"elasticache-iam.dev/owner": "x"}}}},
        "spec.delivery.secret.labels",
        "must not use",
    ),
    user(
        "the label managed-by",
        {"spec.delivery": {"secret": {"labels": {"app.kubernetes.io/managed-by": "x"}}}},
        "spec.delivery.secret.labels",
        "must not use",
    ),
    user(
        "an annotation of the operator's",
        {"spec.delivery": {"secret": {"annotations": {"elasticache-iam.dev/expires-at": "x"}}}},
        "spec.delivery.secret.annotations",
        "must not use",
    ),
    user(
        "a label without a name",
        {"spec.delivery": {"secret": {"labels": {"example.com/": "x"}}}},
        "spec.delivery.secret.labels",
        "need keys as",
    ),
    user(
        "a label's value with a space",
        {"spec.delivery": {"secret": {"labels": {"team": "a b"}}}},
        "spec.delivery.secret.labels.team",
        "match",
    ),
    user(
        "a template's key with a slash",
        {"spec.delivery": {"secret": {"template": {"../passwd": "x"}}}},
        "spec.delivery.secret.template",
        "a template's keys",
    ),
    user(
        "a template's key that is the folder above",
        {"spec.delivery": {"secret": {"template": {"..": "x"}}}},
        "spec.delivery.secret.template",
        "a template's keys",
    ),
    user(
        "too much text in all templates together",
        {
            "spec.delivery": {
                "secret": {"template": {f"K{number}": "x" * 8192 for number in range(3)}},
                "configMap": {"name": "a", "template": {"A": "x" * 8192, "B": "y"}},
            }
        },
        "spec.delivery",
        "the templates of secret and configMap together",
    ),
    user(
        "a ConfigMap without a name",
        {"spec.delivery": {"configMap": {"template": {"a": "b"}}}},
        "spec.delivery.configMap.name",
        "equired",
    ),
    user(
        "a ConfigMap's name that can't be",
        {"spec.delivery": {"configMap": {"name": "a_b"}}},
        "spec.delivery.configMap.name",
        "must be the name of a ConfigMap",
    ),
    user("an unknown delivery", {"spec.delivery": {"mode": "Proxy"}}, "spec.delivery.mode", "Secret"),
    # tags
    user("a tag of the operator's", {"spec.tags": {"elasticache-iam.dev/owner": "x"}}, "spec.tags", "must not use"),
    user("the consent tag", {"spec.tags": {"elasticache-iam.dev/allow": "x"}}, "spec.tags", "must not use"),
    user("a tag of AWS's", {"spec.tags": {"AWS:x": "y"}}, "spec.tags", "must not use"),
    user("a tag's key with a star", {"spec.tags": {"a*": "x"}}, "spec.tags", "a tag's key"),
    user("a tag's key of 129", {"spec.tags": {"a" * 129: "x"}}, "spec.tags", "a tag's key"),
    user("an empty tag's key", {"spec.tags": {"": "x"}}, "spec.tags", "a tag's key"),
    user("a tag's value with a star", {"spec.tags": {"a": "*"}}, "spec.tags.a", "match"),
    user("41 tags", {"spec.tags": {f"a{n}": "x" for n in range(41)}}, "spec.tags", "40"),
    group("a group's tag of the operator's", {"spec.tags": {"elasticache-iam.dev/uid": "x"}}, "spec.tags", "must not"),
    # engine, region and account
    group("no engine", {"spec.engine": ABSENT}, "spec.engine", "equired"),
    group("an engine in upper case", {"spec.engine": "Valkey"}, "spec.engine", "valkey"),
    group("an unknown service", {"spec.service": "Redis"}, "spec.service", "ElastiCache"),
    group("a region that is a host", {"spec.region": "eu-central-1.evil.example/"}, "spec.region", "AWS region"),
    group("a region in upper case", {"spec.region": "EU-CENTRAL-1"}, "spec.region", "AWS region"),
    group("an availability zone as region", {"spec.region": "eu-central-1a"}, "spec.region", "AWS region"),
    group("an account of 11 digits", {"spec.account": "11112222333"}, "spec.account", "12 digits"),
    group("an account that is a number", {"spec.account": 111122223333}, "spec.account", "string"),
    group("an account in other digits", {"spec.account": "\u0661" * 12}, "spec.account", "12 digits"),
    # caches
    group("a cache without an id", {"spec.caches": [{"name": "a"}]}, "spec.caches[0]", "exactly one of"),
    group(
        "a cache with two ids",
        {"spec.caches": [{"replicationGroup": "a", "serverlessCache": "b"}]},
        "spec.caches[0]",
        "exactly one of",
    ),
    group(
        "a cache with three ids",
        {"spec.caches": [{"replicationGroup": "a", "serverlessCache": "b", "memoryDBCluster": "c"}]},
        "spec.caches[0]",
        "exactly one of",
    ),
    group(
        "two caches without names",
        {"spec.caches": [{"replicationGroup": "a"}, {"replicationGroup": "b"}]},
        "spec.caches[1]",
        "Duplicate value",
        parser_too=False,
    ),
    group(
        "a MemoryDB cluster in ElastiCache",
        {"spec.caches": [{"memoryDBCluster": "a"}]},
        "spec.caches",
        "must be of the group's service",
    ),
    group(
        "a replication group in MemoryDB", {"spec.service": "MemoryDB"}, "spec.caches", "must be of the group's service"
    ),
    *(
        group(
            f"a cache's id with {word}",
            {"spec.caches": [{"replicationGroup": text}]},
            "spec.caches[0].replicationGroup",
            ID_SAYS,
        )
        for word, text in [
            ("a path", "orders/../x"),
            ("a query", "orders?Action=connect"),
            ("credentials before a host", "orders@evil"),
            ("a port", "orders:6379"),
            ("a dot", "orders.evil"),
            ("a space", "orders x"),
            ("a percent sign", "orders%2f"),
        ]
    ),
    group(
        "a cache's name that no Secret can bear",
        {"spec.caches.0.name": "Main_1"},
        "spec.caches[0].name",
        "a cache's name",
    ),
    # default user and members
    group(
        "an unmanaged default user in a valkey group",
        {"spec.defaultUser": "Unmanaged"},
        "spec.defaultUser",
        "is for redis groups",
    ),
    group(
        "an unmanaged default user in MemoryDB",
        {
            "spec.defaultUser": "Unmanaged",
            "spec.engine": "redis",
            "spec.service": "MemoryDB",
            "spec.caches": [{"memoryDBCluster": "a"}],
        },
        "spec.defaultUser",
        "is for redis groups",
    ),
    group("the built-in default as a member", {"spec.members": ["default"]}, "spec.members", "must not hold default"),
    group("a member in upper case", {"spec.members": ["Batch"]}, "spec.members[0]", ID_SAYS),
    group("101 members", {"spec.members": ["a"] * 101}, "spec.members", "100"),
    # reference
    group("a reference without an id", {"spec.adoption": "Reference"}, "spec.id", "required with adoption"),
    *(
        group(
            f"a reference with {word}", {"spec.adoption": "Reference", "spec.id": "orders", **changes}, at, "Reference"
        )
        for word, changes, at in [
            ("deletion", {"spec.deletionPolicy": "Delete"}, "spec.deletionPolicy"),
            ("authoritative membership", {"spec.membership": "Authoritative"}, "spec.membership"),
            ("attaching", {"spec.attachment": {"policy": "Attach"}}, "spec.attachment.policy"),
            ("members", {"spec.members": ["batch"]}, "spec.members"),
            ("tags", {"spec.tags": {"team": "orders"}}, "spec.tags"),
        ]
    ),
    # admission
    group(
        "an admission rule for nobody",
        {"spec.admission.0.namespaces": {}},
        "spec.admission[0].namespaces",
        "exactly one",
    ),
    group(
        "an admission rule with an empty list of names",
        {"spec.admission.0.namespaces": {"names": []}},
        "spec.admission[0].namespaces",
        "exactly one",
    ),
    group(
        "an admission rule with names and a selector",
        {"spec.admission.0.namespaces.selector": {}},
        "spec.admission[0].namespaces",
        "exactly one",
    ),
    group("an admission rule without a limit", {LIMIT: ABSENT}, "spec.admission[0].limit", "equired"),
    group("an empty limit", {LIMIT: {}}, "spec.admission[0].limit", "exactly one of preset and accessString"),
    group("a limit without keys", {LIMIT: {"preset": "ReadOnly"}}, "spec.admission[0].limit.keys", "keys is required"),
    group(
        "a limit whose key starts a new rule",
        {f"{LIMIT}.keys": ["a ~*"]},
        "spec.admission[0].limit.keys[0]",
        KEY_SAYS,
    ),
    group(
        "a namespace that is a pattern",
        {"spec.admission.0.namespaces.names": ["*"]},
        "spec.admission[0].namespaces.names[0]",
        "lower-case letters",
    ),
    group("ids of everybody", {"spec.admission.0.ids": ["*"]}, "spec.admission[0].ids[0]", "starting with a letter"),
    group("ids with a space", {"spec.admission.0.ids": ["a *"]}, "spec.admission[0].ids[0]", "a pattern of ids"),
    group(
        "a selector's term without values",
        {"spec.admission.0.namespaces": {"selector": {"matchExpressions": [{"key": "team", "operator": "In"}]}}},
        "spec.admission[0].namespaces.selector.matchExpressions[0].values",
        "values is required",
    ),
    group(
        "a selector's term with needless values",
        {
            "spec.admission.0.namespaces": {
                "selector": {"matchExpressions": [{"key": "team", "operator": "Exists", "values": ["a"]}]}
            }
        },
        "spec.admission[0].namespaces.selector.matchExpressions[0].values",
        "must be absent",
    ),
    group(
        "a selector's key that can't be",
        {"spec.admission.0.namespaces": {"selector": {"matchLabels": {"a b": "c"}}}},
        "spec.admission[0].namespaces.selector.matchLabels",
        "need keys as",
    ),
]

ACCEPTED = [
    Accepted("the minimal user", "user"),
    Accepted("the minimal group", "group"),
    Accepted("a group without caches", "group", {"spec.caches": []}),
    Accepted("Admin", "user", {"spec.access": {"preset": "Admin"}}),
    Accepted("a raw access string", "user", {"spec.access": {"accessString": "on ~orders:* +@read"}}),
    Accepted(
        "an access string of today's engines",
        "user",
        {"spec.access": {"accessString": "on resetchannels &a:* %R~x:* -@all +get +config|get (~reset +nopass)"}},
    ),
    Accepted("an access string of 128 words", "user", {"spec.access": {"accessString": "on ~a" + " +get" * 126}}),
    Accepted("an access string of 16 selectors", "user", {"spec.access": {"accessString": "on" + " (~a +get)" * 16}}),
    Accepted("keys that look like password rules", "user", {"spec.access.keys": [">a", "#b", "{c}:*", "reset"]}),
    Accepted("an id of 40", "user", {"spec.id": "a" * 40}),
    Accepted("a name of 63", "user", {"metadata.name": "a" * 63}),
    Accepted("an existing role", "user", {"spec.role": {"mode": "Existing", "arn": ROLE_ARN}}),
    Accepted(
        "an external role in China",
        "user",
        {"spec.role": {"mode": "External", "arn": "arn:aws-cn:iam::111122223333:role/orders"}},
    ),
    Accepted(
        "an external role for the government",
        "user",
        {"spec.role": {"mode": "External", "arn": "arn:aws-us-gov:iam::111122223333:role/a/b/orders+x=1@y"}},
    ),
    Accepted(
        "a user outside the cluster",
        "user",
        {"spec.role": {"mode": "None"}, "spec.delivery": {"mode": "None"}, "spec.serviceAccounts": []},
    ),
    Accepted(
        "a workload that signs for itself",
        "user",
        {"spec.delivery": {"mode": "None"}, "spec.annotateServiceAccounts": True},
    ),
    Accepted(
        "a workload with pod identity",
        "user",
        {"spec.delivery": {"mode": "None"}, "spec.role": {"binding": "PodIdentity"}},
    ),
    Accepted(
        "a Secret with everything",
        "user",
        {
            "spec.delivery": {
                "secret": {
                    "name": "orders.redis",
                    "labels": {"example.com/team": "shop", "app": ""},
                    "annotations": {"reloader.stakater.com/match": "any text, éven this"},
                    "template": {"REDIS_URL": "rediss://{{ username | url_encode }}:{{ password }}@{{ host }}/0"},
                },
                "configMap": {"name": "checkout-settings", "template": {"TFE_REDIS_USER": "{{ username }}"}},
            }
        },
    ),
    Accepted(
        "as much text in templates as may be",
        "user",
        {
            "spec.delivery": {
                "secret": {"template": {f"K{number}": "é" * 8192 for number in range(3)}},
                "configMap": {"name": "a", "template": {"A": "x" * 8192}},
            }
        },
    ),
    Accepted("tags in any language", "user", {"spec.tags": {"équipe": "Verkäufer 1/2 a+b=c@d.e_f:g-h", "empty": ""}}),
    Accepted("an adopted user", "user", {"spec.adoption": "Adopt", "spec.id": "legacy"}),
    Accepted("a serverless cache", "group", {"spec.caches": [{"serverlessCache": "orders"}]}),
    Accepted(
        "a MemoryDB cluster", "group", {"spec.service": "MemoryDB", "spec.caches": [{"memoryDBCluster": "orders"}]}
    ),
    Accepted(
        "two caches with names",
        "group",
        {"spec.caches": [{"replicationGroup": "a"}, {"name": "replica", "replicationGroup": "b"}]},
    ),
    Accepted("a referenced group", "group", {"spec.adoption": "Reference", "spec.id": "terraform-made"}),
    Accepted(
        "the built-in default where it is unmanaged",
        "group",
        {"spec.engine": "redis", "spec.defaultUser": "Unmanaged", "spec.members": ["default", "batch"]},
    ),
    Accepted("every namespace", "group", {"spec.admission.0.namespaces": {"selector": {}}}),
    Accepted(
        "namespaces by label",
        "group",
        {
            "spec.admission.0.namespaces": {
                "selector": {
                    "matchLabels": {"example.com/team": "shop"},
                    "matchExpressions": [
                        {"key": "tier", "operator": "In", "values": ["prod"]},
                        {"key": "sandbox", "operator": "DoesNotExist"},
                    ],
                }
            },
            "spec.admission.0.ids": ["shop-*", "exact"],
        },
    ),
    *(
        Accepted(f"the region {region}", "group", {"spec.region": region, "spec.account": "111122223333"})
        for region in ["eu-central-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1", "ap-southeast-12"]
    ),
]
