"""Manifests in files, and the line of every fault."""

import io
from pathlib import Path

import pytest

from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key
from elasticache_iam.runtime.manifests import Manifests, Scan, read_manifests, scan_manifests

GROUP = """\
apiVersion: elasticache-iam.dev/v1alpha1
kind: UserGroup
metadata: {name: orders, namespace: platform}
spec:
  engine: redis
  caches:
    - replicationGroup: orders-prod
"""
USER = """\
apiVersion: elasticache-iam.dev/v1alpha1
kind: ElastiCacheIAMUser
metadata: {name: checkout}
spec:
  groups: [{name: orders, namespace: platform}]
  access: {preset: ReadOnly, keys: ["*"]}
  serviceAccounts: [checkout]
"""
OTHERS = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: orders}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: checkout, namespace: shop, annotations: {a: b}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout}
"""


def read(folder: Path, text: str) -> Manifests:
    (folder / "a.yaml").write_text(text)
    return read_manifests([str(folder / "a.yaml")], namespace="shop")


def scan(folder: Path, text: str) -> Scan:
    (folder / "a.yaml").write_text(text)
    return scan_manifests([str(folder / "a.yaml")], namespace="shop", recursive=False)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        read(folder, text)
    return [line.removeprefix(f"{folder}/") for line in refused.value.message.splitlines()]


def test_a_file_may_hold_many_documents(tmp_path: Path):
    found = read(tmp_path, f"---\n{GROUP}---\n{USER}---\n")

    assert list(found.resources) == [Key(GROUPS, "platform", "orders"), Key(USERS, "shop", "checkout")]


def test_a_list_is_its_items(tmp_path: Path):
    items = "".join(f"- {line}\n" if not number else f"  {line}\n" for number, line in enumerate(GROUP.splitlines()))

    assert list(read(tmp_path, f"kind: List\nitems:\n{items}").resources) == [Key(GROUPS, "platform", "orders")]


def test_a_folder_is_its_manifests(tmp_path: Path):
    (tmp_path / "group.yaml").write_text(GROUP)
    (tmp_path / "user.yml").write_text(USER)
    (tmp_path / "readme.md").write_text("# not YAML: [")

    assert len(read_manifests([str(tmp_path)], namespace="shop").resources) == 2


def nest(folder: Path) -> None:
    (folder / "users" / "deep").mkdir(parents=True)
    (folder / "group.yaml").write_text(GROUP)
    (folder / "users" / "deep" / "user.yaml").write_text(USER)


def test_a_folder_in_a_folder_is_read_where_that_is_asked(tmp_path: Path):
    nest(tmp_path)

    assert len(read_manifests([str(tmp_path)], namespace="shop", recursive=True).resources) == 2


def test_a_folder_that_is_not_read_is_named(tmp_path: Path):
    nest(tmp_path)
    (tmp_path / "pictures").mkdir()

    found = read_manifests([str(tmp_path)], namespace="shop")

    assert len(found.resources) == 1
    assert found.ignored == [f"{tmp_path}/users (a file in it isn't read: -R looks into folders, too)"]


def test_a_folder_that_is_not_read_is_named_where_nothing_is_found(tmp_path: Path):
    nest(tmp_path)
    (tmp_path / "group.yaml").write_text(OTHERS)

    with pytest.raises(ConfigurationError, match=r"no UserGroup .*; not looked at: .*/users \(a file"):
        read_manifests([str(tmp_path)], namespace="shop")


def test_links_are_read_once_and_not_followed_out_of_the_folder(tmp_path: Path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    elsewhere.mkdir()
    nest(here)
    (here / "again.yaml").symlink_to("users/deep/user.yaml")
    (here / "round").symlink_to(".")
    (here / "users" / "out").symlink_to(elsewhere)

    found = read_manifests([str(here)], namespace="shop", recursive=True)

    assert len(found.resources) == 2
    assert [line.partition(" (")[0] for line in found.ignored] == [f"{here}/users/out"]


def test_a_dash_is_the_standard_input(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(GROUP))

    assert len(read_manifests(["-"], namespace="shop").resources) == 1


def test_what_comes_along_is_remembered_and_the_rest_named(tmp_path: Path):
    found = read(tmp_path, f"{GROUP}---\n{OTHERS}")

    assert found.namespaces == {"shop": {"team": "orders"}}
    assert found.service_accounts == {("shop", "checkout"): {"a": "b"}}
    assert found.ignored == [f"Deployment checkout ({tmp_path}/a.yaml)"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GROUP.replace("redis", "rediss"), "a.yaml:5: UserGroup platform/orders: spec.engine: "),
        (
            GROUP + "  admision: []\n",
            "a.yaml:8: UserGroup platform/orders: spec.admision: unknown field; did you mean admission?",
        ),
        (
            GROUP.replace("kind: UserGroup", "kind: UserGrup"),
            "a.yaml:1: UserGrup platform/orders: kind: unknown in elasticache-iam.dev, which has UserGroup and ",
        ),
        (
            USER.replace("-iam.dev/", "-iam.com/"),
            "a.yaml:1: ElastiCacheIAMUser shop/checkout: apiVersion: elasticache-iam.com/v1alpha1 is unknown, use ",
        ),
        (USER.partition("\n")[2], "a.yaml:1: ElastiCacheIAMUser shop/checkout: apiVersion: required, use "),
        (GROUP.replace("spec:", "spce: {}\nspec:"), "a.yaml:4: UserGroup platform/orders: spce: unknown field"),
        (
            GROUP.replace("replicationGroup: orders-prod", "replicationGroup: [1]"),
            "a.yaml:7: UserGroup platform/orders: spec.caches[0].replicationGroup: ",
        ),
        (f"{USER}---\n{GROUP.replace('v1alpha1', 'v9')}", "a.yaml:9: UserGroup platform/orders: apiVersion: "),
        (f"{GROUP}---\n{GROUP}", "a.yaml:9: UserGroup platform/orders: there is another one of that name"),
        ("spec: {}\n", "a.yaml:1: not a Kubernetes object: it has no kind"),
        ("kind: UserGroup\n", "a.yaml:1: UserGroup: metadata.name: required"),
        ("a: [\n", "a.yaml:2: not YAML: "),
        (f"{GROUP}---\na: !!int x\n", "a.yaml:9: not YAML: a value isn't what its tag says"),
        ("[" * 2_000, "a.yaml: not YAML: it can not be read"),
    ],
    ids=[
        "a-wrong-value", "an-unknown-field", "an-unknown-kind", "another-api", "no-api", "an-unknown-part",
        "deep-inside", "an-unknown-version", "twice", "no-kind", "no-name", "no-yaml",
        "a-false-tag", "too-deep",
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line_and_field(tmp_path: Path, text: str, said: str):
    (line,) = faults(tmp_path, text)

    assert line.startswith(said)


@pytest.mark.parametrize(
    ("merged", "own", "line"), [("Nonsense", "ReadOnly", None), ("ReadOnly", "Nonsense", 9), ("Nonsense", None, 7)]
)
def test_what_is_merged_counts_where_nothing_of_its_own_stands(
    tmp_path: Path, merged: str, own: str | None, line: int | None
):
    access = f"access:\n    <<: {{preset: {merged}}}\n    keys: ['*']\n" + (f"    preset: {own}" if own else "")
    text = USER.replace('access: {preset: ReadOnly, keys: ["*"]}', access)

    if line is None:
        assert read(tmp_path, text).resources
    else:
        assert [fault.partition(" spec")[0] for fault in faults(tmp_path, text)] == [
            f"a.yaml:{line}: ElastiCacheIAMUser shop/checkout:"
        ]


def test_a_key_that_stands_twice_is_told_with_both_lines(tmp_path: Path):
    twice = USER.replace(
        "  serviceA", "  access:\n    preset: Admin\n    preset: ReadOnly\n    keys: ['*']\n  serviceA"
    )

    assert faults(tmp_path, f"{GROUP}---\n{twice}") == [
        "a.yaml:17: preset: stands here twice, first in line 16",
        "a.yaml:15: access: stands here twice, first in line 14",
    ]


def test_a_key_that_stands_twice_does_not_hide_what_else_is_wrong(tmp_path: Path):
    assert len(faults(tmp_path, f"{GROUP}  engine: rediss\n")) == 2


def test_a_key_of_its_own_beside_a_merged_one_stands_once(tmp_path: Path):
    text = USER.replace("access: {", "access: {<<: {preset: Admin}, ")

    assert read(tmp_path, text).resources


@pytest.mark.parametrize(
    "value", ["9" * 10_000, "!!int x", "!!int ''", "!!bool x", "!!timestamp x"], ids=lambda value: value[:12]
)
def test_a_value_that_can_not_be_read_hides_nothing_before_it(tmp_path: Path, value: str):
    lines = faults(tmp_path, f"{GROUP}  a: 1\n---\nkind: Other\na: {value}\n")

    assert [line.partition(":")[2].partition(":")[0] for line in lines] == ["8", "11"]


SHOP = "{name: checkout, namespace: shop"


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("{name: checkout, lables: {a: b}}", "metadata.lables: unknown field; did you mean labels?"),
        ("{name: checkout, namespace: Sh_op}", "metadata.namespace: must be lower-case letters"),
        ("{name: checkout, namespace: [shop]}", "metadata.namespace: must be text"),
        ("{name: Check.out}", "metadata.name: metadata.name must be at most 63 lower-case letters"),
        (f"{SHOP}, labels: {{a: b c}}}}", "metadata.labels.a: a label's value must be "),
        (f"{SHOP}, labels: {{a: {'b' * 64}}}}}", "metadata.labels.a: a label's value must be "),
        (f"{SHOP}, labels: {{a b: c}}}}", 'metadata.labels["a b"]: must be a key as '),
        (f"{SHOP}, labels: {{a/b/c: d}}}}", "metadata.labels.a/b/c: must be a key as "),
        (f"{SHOP}, labels: {{a: 1}}}}", "metadata.labels.a: must be text"),
        (f"{SHOP}, annotations: {{-a: b}}}}", "metadata.annotations.-a: must be a key as "),
        (f"{SHOP}, annotations: {{a: {'b' * 262_144}}}}}", "metadata.annotations: must have at most 262144 bytes"),
    ],
    ids=lambda value: value[:50],
)
def test_metadata_is_read_as_the_api_server_reads_it(tmp_path: Path, metadata: str, said: str):
    (line,) = faults(tmp_path, USER.replace("{name: checkout}", metadata))

    assert line.startswith("a.yaml:3: ElastiCacheIAMUser ")
    assert f": {said}" in line


@pytest.mark.parametrize(
    "metadata",
    [
        "{name: checkout, namespace: , labels: , annotations: }",
        "{name: checkout, labels: {a: '', app.kubernetes.io/name: A.b_c-1}, annotations: {Example.com/a: 'b c'}}",
        "{name: checkout, uid: u, resourceVersion: '1', generation: 1, creationTimestamp: null, managedFields: []}",
    ],
    ids=["empty", "names", "from-the-cluster"],
)
def test_what_the_api_server_takes_is_no_fault(tmp_path: Path, metadata: str):
    assert list(read(tmp_path, USER.replace("{name: checkout}", metadata)).resources) == [
        Key(USERS, "shop", "checkout")
    ]


@pytest.mark.parametrize("labels", ["[a]", "5", "{a: b c}"])
def test_metadata_of_what_comes_along_is_read_so_too(tmp_path: Path, labels: str):
    namespace = f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {labels}}}\n"
    account = (
        f"---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: a, namespace: [x], annotations: {labels}}}\n"
    )

    assert scan(tmp_path, f"{GROUP}{namespace}{account}").manifests.resources


def test_another_kind_needs_no_name(tmp_path: Path):
    found = read(tmp_path, f"{GROUP}---\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n")

    assert found.ignored == [f"Kustomization ({tmp_path}/a.yaml)"]


def test_a_date_is_a_string_as_to_kubectl(tmp_path: Path):
    dated = USER.replace("checkout}", "checkout, annotations: {since: 2026-11-21, until: 2026-13-45}}")

    (body,) = read(tmp_path, dated).resources.values()

    assert body["metadata"]["annotations"] == {"since": "2026-11-21", "until": "2026-13-45"}


def test_all_faults_are_told_at_once(tmp_path: Path):
    assert len(faults(tmp_path, f"{GROUP}  a: 1\n  b: 2\n")) == 2


def test_a_misspelt_field_is_told_with_what_it_breaks(tmp_path: Path):
    told = faults(tmp_path, GROUP.replace("replicationGroup", "replicationGrup").replace("redis", "rediss"))

    assert [line.partition("platform/orders: ")[2] for line in told] == [
        "spec.caches[0].replicationGrup: unknown field; did you mean replicationGroup?",
        "spec.engine: must be valkey or redis",
    ]


def test_a_group_of_another_controller_is_passed_over(tmp_path: Path):
    theirs = GROUP.replace("elasticache-iam.dev/", "elasticache.services.k8s.aws/").replace("orders,", "theirs,")

    assert read(tmp_path, f"{GROUP}---\n{theirs}").ignored == [f"UserGroup theirs ({tmp_path}/a.yaml)"]


@pytest.mark.parametrize("text", ["", OTHERS], ids=["nothing", "nothing-of-ours"])
def test_files_without_a_resource_of_ours_are_a_mistake(tmp_path: Path, text: str):
    (line,) = faults(tmp_path, text)

    assert line.startswith("no UserGroup and no ElastiCacheIAMUser in ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"none\.yaml: No such file"):
        read_manifests([str(tmp_path / "none.yaml")], namespace="shop")
