"""Who may join a group: the most specific rule decides, and no other."""

import pytest
from tests.builders import group_manifest, user_manifest

from elasticache_iam.api.base import Condition, ConditionStatus
from elasticache_iam.api.group import LabelSelector, UserGroupStatus
from elasticache_iam.api.parse import parse_group, parse_user
from elasticache_iam.core.admission import admit, needs_namespace_labels, selects

READ_ONLY = {"preset": "ReadOnly", "keys": ["orders:*"]}
READ_WRITE = {"preset": "ReadWrite", "keys": ["orders:*"]}
ADMIN = {"preset": "Admin"}


def names(*found, limit=READ_WRITE, ids=()):
    return {"namespaces": {"names": list(found)}, "limit": limit, **({"ids": list(ids)} if ids else {})}


def labels(limit=READ_WRITE, **found):
    return {"namespaces": {"selector": {"matchLabels": found}}, "limit": limit}


def group(*rules):
    return parse_group(group_manifest(admits=(), admission=list(rules)))


def user(access=READ_WRITE, namespace="shop", **spec):
    return parse_user(user_manifest(namespace=namespace, access=access, **spec))


@pytest.mark.parametrize(
    ("rules", "asked", "namespace_labels", "admitted"),
    [
        pytest.param((), user(), {}, False, id="no-rule-admits-nobody"),
        pytest.param((), user(ADMIN, "platform"), {}, True, id="the-groups-own-namespace-is-free"),
        pytest.param((names("shop"),), user(), {}, True, id="a-named-namespace-may"),
        pytest.param((names("other"),), user(), {}, False, id="another-may-not"),
        pytest.param((names("shop", limit=READ_ONLY),), user(), {}, False, id="no-more-than-the-limit"),
        pytest.param((names("shop", limit=ADMIN),), user(READ_ONLY), {}, True, id="less-than-the-limit-is-fine"),
        pytest.param(
            (names("shop", limit=READ_ONLY), labels(ADMIN, team="a")),
            user(),
            {"team": "a"},
            False,
            id="a-names-rule-that-refuses-does-not-fall-through",
        ),
        pytest.param(
            (labels(READ_ONLY, team="a"), names("shop", limit=ADMIN)), user(), {"team": "a"}, True, id="names-go-first"
        ),
        pytest.param(
            (labels(READ_ONLY, team="a"), labels(ADMIN, team="a")),
            user(),
            {"team": "a"},
            False,
            id="of-two-selectors-the-first-decides",
        ),
        pytest.param((labels(team="a"),), user(), {"team": "a"}, True, id="a-label-that-matches-may"),
        pytest.param((labels(team="a"),), user(), {"team": "b"}, False, id="one-that-doesn't-may-not"),
        pytest.param((labels(),), user(), {}, True, id="an-empty-selector-is-everybody"),
        pytest.param(
            (names("platform", limit=READ_ONLY),),
            user(namespace="platform"),
            {},
            False,
            id="a-rule-that-names-the-groups-own-namespace-limits-it",
        ),
        pytest.param(
            (labels(READ_ONLY),), user(ADMIN, "platform"), {}, True, id="a-selector-does-not-limit-the-groups-own"
        ),
        pytest.param((names("shop"),), user(id="demo-x"), {}, False, id="an-explicit-id-needs-leave"),
        pytest.param((names("shop", ids=("demo-*",)),), user(id="demo-x"), {}, True, id="which-a-pattern-gives"),
        pytest.param((names("shop", ids=("demo-y",)),), user(id="demo-x"), {}, False, id="if-it-matches"),
        pytest.param((), user(namespace="platform", id="demo-x"), {}, True, id="at-home-any-id-will-do"),
        pytest.param(
            (names("shop", limit=ADMIN),),
            user({"accessString": "on ~orders:* +get"}),
            {},
            True,
            id="a-raw-string-within-may",
        ),
        pytest.param(
            (names("shop"),), user({"accessString": "on ~* +@read"}), {}, False, id="a-raw-string-beyond-may-not"
        ),
        pytest.param(
            (names("shop"),),
            user({"accessString": "on ~orders:* +flushall"}),
            {},
            False,
            id="nor-one-with-a-dangerous-command",
        ),
    ],
)
def test_decision(rules, asked, namespace_labels, admitted):
    decision = admit(group(*rules), asked, namespace_labels)

    assert decision.ok is admitted
    assert bool(decision.message) is not admitted


def test_a_refusal_names_the_group_and_what_to_do():
    assert "UserGroup platform/orders" in admit(group(), user(), {}).message
    assert "leave spec.id out" in admit(group(names("shop")), user(id="demo-x"), {}).message


@pytest.mark.parametrize(("rules", "needed"), [((), False), ((names("a"),), False), ((labels(team="a"),), True)])
def test_labels_are_read_only_where_they_matter(rules, needed):
    assert needs_namespace_labels(group(*rules)) is needed


@pytest.mark.parametrize(
    ("expression", "found", "matches"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, {"a": "2"}, True),
        ({"key": "a", "operator": "In", "values": ["1"]}, {"a": "2"}, False),
        ({"key": "a", "operator": "In", "values": ["1"]}, {}, False),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, {"a": "2"}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, {}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, {"a": "1"}, False),
        ({"key": "a", "operator": "Exists"}, {"a": ""}, True),
        ({"key": "a", "operator": "Exists"}, {"b": ""}, False),
        ({"key": "a", "operator": "DoesNotExist"}, {"b": ""}, True),
        ({"key": "a", "operator": "DoesNotExist"}, {"a": ""}, False),
    ],
)
def test_expressions_match_as_in_kubernetes(expression, found, matches):
    assert selects(LabelSelector.model_validate({"matchExpressions": [expression]}), found) is matches


def test_labels_and_expressions_must_both_match():
    selector = LabelSelector.model_validate(
        {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}
    )

    assert selects(selector, {"a": "1", "b": ""})
    assert not selects(selector, {"a": "1"})
    assert not selects(selector, {"b": ""})


@pytest.mark.parametrize(
    ("name", "spec"),
    [("checkout", {"id": "demo-default-0a1b2c3d"}), ("checkout", {"id": "x-default-0a1b2c3d"}), ("default", {})],
    ids=["ours", "anothers", "generated"],
)
def test_ids_of_default_users_are_kept_for_them(name, spec):
    decision = admit(group(), parse_user(user_manifest(name, "platform", **spec)), {})

    assert not decision.ok
    assert "disabled default users" in decision.message


def test_nobody_is_admitted_to_a_lent_group_whose_owner_takes_it_back():
    lent = parse_group(group_manifest(admits=("shop",), attach=False, adoption="Reference", id="theirs"))
    condition = Condition(type="GroupSynced", status=ConditionStatus.FALSE, reason="ConsentMissing", message="")
    withdrawn = lent.model_copy(update={"status": UserGroupStatus(conditions=(condition,))})

    assert admit(lent, user(), {}).ok
    assert not admit(withdrawn, user(), {}).ok
