"""A plan is what the operator then does: the same calls, in the same order, and nothing is written to find out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.builders import Manifest, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.api.keys import ANNOTATION_PLAN_ONLY
from elasticache_iam.aws.api import Api
from elasticache_iam.core.plan.calls import RANDOM_PASSWORD
from elasticache_iam.core.plan.changes import Plan
from elasticache_iam.core.plan.describe import render_plan
from elasticache_iam.reconcile.preview.run import Preview
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key

GROUP = Key(GROUPS, "platform", "orders")
USER = Key(USERS, "shop", "checkout")
PLAN_ONLY = {ANNOTATION_PLAN_ONLY: "true"}
READS = ("Describe", "Get", "List", "Assume")

Sent = tuple[str, str, dict[str, Any]]


@dataclass
class Sender:
    """What the adapter sends that isn't a read."""

    calls: list[Sent] = field(default_factory=list)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    sender = Sender()
    call = Api.call

    async def noted(self: Api, service: str, operation: str, parameters: Any, **options: Any) -> Any:
        answer = await call(self, service, operation, parameters, **options)
        if not operation.startswith(READS):
            sender.calls.append((service, operation, without_passwords(parameters)))
        return answer

    monkeypatch.setattr(Api, "call", noted)
    return sender


def without_passwords(parameters: Any) -> dict[str, Any]:
    mode = parameters.get("AuthenticationMode", {})
    if "Passwords" not in mode:
        return dict(parameters)
    return {**parameters, "AuthenticationMode": {**mode, "Passwords": [RANDOM_PASSWORD]}}


def calls_of(plan: Plan) -> list[Sent]:
    return [(step.call.service, step.call.operation, dict(step.call.parameters)) for step in plan.steps]


def planned(manifest: Manifest) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": dict(PLAN_ONLY)}}


async def plan_of(operator: Operator, keys: Sequence[Key]) -> Plan:
    preview = Preview(operator.plane, applies=keys)
    await preview.run(keys)
    return preview.tell(keys)


async def until_planned(world: Ground, key: Key) -> list[str]:
    def plan() -> Any:
        body = world.kube.get(key.plural, key.namespace, key.name) or {}
        return body.get("status", {}).get("plan")

    found: list[str] = await world.until(plan)
    return found


async def made(world: Ground, *more: Manifest) -> Operator:
    """An operator with a pair that is ready, and users beside it."""
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest(), *more)
    await world.until_ready()
    await world.until_ready(GROUPS, "platform", "orders")
    for manifest in more:
        await world.until_ready(USERS, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
    await world.until_quiet(operator)
    return operator


def text_of(plan: Plan) -> str:
    return "\n".join(line.plain for line in render_plan(plan))


SHAPES = {
    "a-redis-group": (group_manifest(), user_manifest()),
    "a-valkey-group": (group_manifest(engine="valkey", caches=("valkey-prod",)), user_manifest()),
    "a-default-user-left-alone": (group_manifest(defaultUser="Unmanaged"), user_manifest()),
    "two-caches": (group_manifest(caches=("orders-prod", "sessions-prod")), user_manifest()),
    "a-raw-access-string": (group_manifest(), user_manifest(access={"accessString": "on ~orders:* +@read +@write"})),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_plan_is_exactly_what_the_operator_then_sends(world: Ground, sent: Sender, shape: str):
    group, user = SHAPES[shape]
    for cache in ("orders-prod", "sessions-prod"):
        world.add_cache(cache)
    world.add_cache("valkey-prod", engine="valkey", engine_version="8.0")
    operator = await world.start()

    world.apply(planned(group))
    await until_planned(world, GROUP)
    of_group = await plan_of(operator, [GROUP])
    world.apply(group)
    await world.until_ready(GROUPS, "platform", "orders")
    sent_for_group = list(sent.calls)

    world.apply(planned(user))
    await until_planned(world, USER)
    of_user = await plan_of(operator, [USER, GROUP])
    world.apply(user)
    await world.until_ready()

    assert sent_for_group == calls_of(of_group)
    assert sent.calls[len(sent_for_group) :] == calls_of(of_user)


async def test_a_plan_of_both_at_once_makes_the_same_objects(world: Ground, sent: Sender):
    world.add_cache()
    operator = await world.start()
    world.apply(planned(group_manifest()), planned(user_manifest()))
    await until_planned(world, GROUP)
    await until_planned(world, USER)

    plan = await plan_of(operator, [GROUP, USER])
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    created = [call for call in calls_of(plan) if call[1] in {"CreateUser", "CreateRole", "PutRolePolicy"}]
    assert sorted(created, key=repr) == sorted(
        (call for call in sent.calls if call[1] in {"CreateUser", "CreateRole", "PutRolePolicy"}), key=repr
    )
    assert {operation for _, operation, _ in sent.calls} - {"ModifyUserGroup"} == {
        operation for _, operation, _ in calls_of(plan)
    } - {"ModifyUserGroup"}


async def test_a_plan_writes_nothing(world: Ground, sent: Sender):
    world.add_cache()
    operator = await world.start()
    world.apply(planned(group_manifest()), planned(user_manifest()))
    await until_planned(world, GROUP)
    await until_planned(world, USER)

    await plan_of(operator, [GROUP, USER])

    assert sent.calls == []
    written = {name for (_, name), count in world.world.call_counts().items() if count and not name.startswith(READS)}
    assert written == {"CreateOpenIDConnectProvider"}  # the ground's own
    assert {(call.verb, call.resource) for call in world.kube.writes} <= {
        ("patch", "usergroups/status"),
        ("patch", "elasticacheiamusers/status"),
        ("create", "events"),
    }


async def test_a_plan_of_what_is_in_order_is_empty(world: Ground):
    operator = await made(world)

    plan = await plan_of(operator, [GROUP, USER])

    assert plan.is_empty
    assert (plan.access, plan.cuts, plan.roles, plan.held) == ((), (), (), ())


async def test_a_deletion_is_planned_to_its_end(world: Ground, sent: Sender):
    operator = await made(world)
    before = len(sent.calls)
    world.apply(planned(user_manifest()))
    world.kube.delete(*("elasticacheiamusers", "shop", "checkout"))
    await until_planned(world, USER)

    plan = await plan_of(operator, [USER, GROUP])
    world.apply(user_manifest())
    await world.until(lambda: world.kube.get(USERS, "shop", "checkout") is None)

    assert sent.calls[before:] == calls_of(plan)
    assert [(change.mark, change.kind, change.name) for change in plan.kube] == [("-", "Secret", "shop/checkout")]


async def test_who_leaves_a_group_is_named_with_its_connections(world: Ground):
    operator = await made(world)
    world.apply(planned(group_manifest(admits=())))
    await until_planned(world, GROUP)

    plan = await plan_of(operator, [GROUP, USER])

    (cut,) = plan.cuts
    (lost,) = plan.access
    assert "(shop/checkout)" in cut.clients
    assert (cut.cache.id, lost.mark, lost.who) == ("orders-prod", "-", "shop/checkout")
    assert "NotAdmitted" in text_of(plan)


async def test_attaching_to_an_open_cache_says_who_is_cut_off(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(planned(group_manifest()))
    await until_planned(world, GROUP)

    plan = await plan_of(operator, [GROUP])

    (cut,) = plan.cuts
    assert cut.cache.id == "orders-prod"
    assert "without a user" in cut.clients


async def test_a_cache_that_keeps_an_open_default_user_cuts_nobody_off(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(planned(group_manifest(defaultUser="Unmanaged")))
    await until_planned(world, GROUP)

    plan = await plan_of(operator, [GROUP])

    assert plan.steps
    assert plan.cuts == ()


async def test_changed_access_is_told_in_words(world: Ground):
    operator = await made(world)
    world.apply(planned(user_manifest(access={"preset": "ReadOnly", "keys": ["orders:*", "carts:*"]})))
    await until_planned(world, USER)

    text = text_of(await plan_of(operator, [USER]))

    assert "gains keys ~carts:*" in text
    assert "loses commands" in text
    assert "live clients" not in text.lower()


async def test_a_roles_documents_are_shown_as_a_diff(world: Ground):
    operator = await made(world)
    world.apply(planned(user_manifest(serviceAccounts=["checkout", "worker"])))
    await until_planned(world, USER)

    plan = await plan_of(operator, [USER])

    (diff,) = plan.roles
    added = [line for line in diff.lines if line.startswith("+")]
    assert diff.document == "trust policy"
    assert any("system:serviceaccount:shop:worker" in line for line in added)


async def test_what_stops_a_plan_is_told(world: Ground):
    world.add_cache(allow=None)
    operator = await world.start()
    world.apply(planned(group_manifest()))
    await until_planned(world, GROUP)

    plan = await plan_of(operator, [GROUP])

    assert [(held.condition, held.reason) for held in plan.held] == [("CachesAttached", "ConsentMissing")]


# -- the annotation --------------------------------------------------------------------------------------------------


async def test_plan_only_shows_the_plan_and_then_does_it(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(planned(group_manifest()), planned(user_manifest()))

    lines = await until_planned(world, GROUP)
    shown = world.conditions(GROUPS, "platform", "orders")
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_ready(GROUPS, "platform", "orders")

    assert lines[0].startswith("Plan: 3 calls to AWS")
    assert shown["Ready"] == ("False", "PlanOnly")
    assert "Stalled" not in shown
    assert "Reconciling" not in shown
    for key in (GROUP, USER):
        body = world.kube.get(key.plural, key.namespace, key.name)
        assert body is not None
        assert "plan" not in body["status"]


async def test_a_second_look_at_a_plan_writes_nothing(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(planned(group_manifest()), planned(user_manifest()))
    await until_planned(world, GROUP)
    await until_planned(world, USER)
    await world.until_quiet(operator)
    writes = len(world.kube.writes)

    for key in (GROUP, USER):
        await operator.work(key)

    assert len(world.kube.writes) == writes


async def test_what_is_in_order_stays_ready_under_plan_only(world: Ground):
    operator = await made(world)

    world.apply(planned(group_manifest()), planned(user_manifest()))
    await world.until(lambda: world.conditions(USERS, "shop", "checkout")["UserSynced"][1] == "PlanOnly")
    await world.until_quiet(operator)

    assert world.is_ready()
    assert world.is_ready(GROUPS, "platform", "orders")


@pytest.mark.parametrize("edit", [{"suspend": True}, {"access": {"preset": "Admin"}}, {"serviceAccounts": ["worker"]}])
async def test_no_edit_of_a_user_is_applied_under_plan_only(world: Ground, edit: dict[str, Any]):
    operator = await made(world)
    before, secret = world.in_aws(), world.kube.secret("shop", "checkout")

    world.apply(planned(user_manifest(**edit)))
    await until_planned(world, USER)
    await operator.work(GROUP)
    await world.until_quiet(operator)

    assert world.in_aws() == before
    assert world.kube.secret("shop", "checkout") == secret


async def test_a_deletion_waits_under_plan_only_and_shows_what_it_would_do(world: Ground):
    operator = await made(world)
    before = world.in_aws()

    world.apply(planned(user_manifest()))
    world.kube.delete(USERS, "shop", "checkout")
    lines = await until_planned(world, USER)
    await operator.work(GROUP)
    await world.until_quiet(operator)

    assert any("DeleteUser" in line for line in lines)
    assert world.in_aws() == before
    assert world.kube.secret("shop", "checkout") is not None


async def test_nobody_joins_a_group_under_plan_only(world: Ground):
    operator = await made(world)
    before = world.in_aws()

    world.apply(planned(group_manifest()))
    world.apply(user_manifest("billing"))
    await world.until(lambda: world.conditions(USERS, "shop", "billing").get("Ready") == ("False", "WaitingForGroup"))
    await world.until_quiet(operator)

    assert world.in_aws() == before


async def test_an_edit_of_a_group_under_plan_only_takes_no_token_away(world: Ground):
    operator = await made(world)
    before, secret = world.in_aws(), world.kube.secret("shop", "checkout")

    world.apply(planned(group_manifest(admits=())))
    lines = await until_planned(world, GROUP)
    await operator.work(USER)
    await world.until_quiet(operator)

    assert any("loses all access to cache orders-prod" in line for line in lines)
    assert world.in_aws() == before
    assert world.kube.secret("shop", "checkout") == secret
    assert world.is_ready()


async def test_a_groups_rules_go_on_for_a_user_under_plan_only(world: Ground):
    operator = await made(world)
    world.apply(planned(user_manifest()))
    await world.until(lambda: world.conditions(USERS, "shop", "checkout")["UserSynced"][1] == "PlanOnly")

    world.apply(group_manifest(admits=()))
    await world.until(lambda: all(len(group[2]) == 1 for group in world.in_aws()["groups"].values()))
    await world.until_quiet(operator)

    (group,) = world.in_aws()["groups"].values()
    assert [user_id for user_id in group[2] if "checkout" in user_id] == []


async def test_paused_wins_over_plan_only(world: Ground):
    world.add_cache()
    operator = await world.start()
    manifest = planned(group_manifest())
    manifest["metadata"]["annotations"]["elasticache-iam.dev/paused"] = "true"

    world.apply(manifest)
    await world.until_quiet(operator)

    body = world.kube.get(GROUPS, "platform", "orders")
    assert body is not None
    assert "plan" not in body.get("status", {})
