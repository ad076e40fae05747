"""How tokens reach a workload, or that it signs its own; and the annotation that gives its pods the role."""

from typing import Any

import pytest
from tests.builders import Manifest, group_manifest, user_manifest
from tests.world.harness import Ground, Operator

from elasticache_iam.core.errors import AccessDeniedError
from elasticache_iam.reconcile.queue import USERS

USER = (USERS, "shop", "checkout")
SELF_SIGNING = {"mode": "None"}
QUICK = {"driftInterval": 0.3, "slowDriftInterval": 0.3}
ROLE_ARN = "eks.amazonaws.com/role-arn"
MARK = "elasticache-iam.dev/annotated-for"
THEIRS = "arn:aws:iam::111122223333:role/theirs"


def self_signing(**spec: Any) -> Manifest:
    return user_manifest(delivery=SELF_SIGNING, **spec)


def annotated(**spec: Any) -> Manifest:
    return self_signing(annotateServiceAccounts=True, **spec)


def status(world: Ground) -> dict[str, Any]:
    found: dict[str, Any] = (world.kube.get(*USER) or {})["status"]
    return found


def annotations(world: Ground, name: str = "checkout") -> dict[str, str]:
    body = world.kube.get("serviceaccounts", "shop", name) or {"metadata": {}}
    return dict(body["metadata"].get("annotations") or {})


def put_account(world: Ground, **found: str) -> None:
    metadata = {"namespace": "shop", "name": "checkout", "annotations": found}
    world.kube.put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})


def audience(world: Ground) -> Any:
    ((trust, _, _),) = world.in_aws()["roles"].values()
    (equals,) = [value for key, value in trust["Statement"][0]["Condition"]["StringEquals"].items() if "aud" in key]
    return equals


async def start(world: Ground, manifest: Manifest) -> Operator:
    world.add_cache()
    operator = await world.start(QUICK)
    world.apply(group_manifest(), manifest)
    return operator


async def writes_nothing_more(world: Ground, operator: Operator) -> None:
    await world.until_quiet(operator)
    kube_writes, before = len(world.kube.writes), world.in_aws()
    for key in operator.plane.store.all_keys() * 2:
        await operator.work(key)
    assert len(world.kube.writes) == kube_writes
    assert world.in_aws() == before


# -- the workload signs for itself -------------------------------------------------------------------------------------


async def test_a_workload_that_signs_for_itself_gets_a_role_and_no_secret(world: Ground):
    operator = await start(world, self_signing())

    await world.until_ready()

    conditions = world.conditions(*USER)
    assert conditions["TokenDelivered"] == ("True", "SelfSigned")
    assert conditions["Verified"] == ("Unknown", "SelfSigned")
    assert audience(world) == "sts.amazonaws.com"
    assert world.kube.secret_names() == []
    assert [cache["id"] for cache in status(world)["caches"]] == ["orders-prod"]
    assert world.calls("AssumeRoleWithWebIdentity") == 0
    await writes_nothing_more(world, operator)


async def test_the_secrets_go_when_a_workload_begins_to_sign_for_itself(world: Ground):
    operator = await start(world, user_manifest())
    await world.until_ready()

    world.apply(self_signing())
    await world.until(lambda: world.conditions(*USER)["TokenDelivered"] == ("True", "SelfSigned"))

    assert world.kube.secret_names() == []
    assert "binding" not in status(world)
    await world.until(lambda: audience(world) == "sts.amazonaws.com")
    await world.until_ready()
    await writes_nothing_more(world, operator)


async def test_a_workload_that_signs_no_longer_gets_secrets(world: Ground):
    operator = await start(world, self_signing())
    await world.until_ready()

    world.apply(user_manifest())
    await world.until(lambda: world.conditions(*USER)["TokenDelivered"] == ("True", "Delivered"))
    await world.until(lambda: world.conditions(*USER)["Verified"] == ("True", "LoggedIn"))

    assert world.kube.secret_names() == [("shop", "checkout")]
    assert audience(world) == "elasticache-iam.dev/sign"
    await writes_nothing_more(world, operator)


async def test_the_audience_of_pods_must_be_known_to_the_account(world: Ground):
    ((provider, *_),) = [
        entry.values() for entry in world.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    ]
    world.iam.remove_client_id_from_open_id_connect_provider(
        OpenIDConnectProviderArn=provider, ClientID="sts.amazonaws.com"
    )

    await start(world, self_signing())
    await world.until(lambda: world.conditions(*USER).get("AccessGranted") == ("False", "AudienceMissing"))

    assert "sts.amazonaws.com" in world.condition(*USER, "AccessGranted")["message"]


# -- the annotation ----------------------------------------------------------------------------------------------------


async def test_a_service_account_is_given_the_role_that_it_asks_for(world: Ground):
    operator = await start(world, annotated())

    await world.until_ready()

    assert annotations(world) == {ROLE_ARN: status(world)["role"]["arn"], MARK: "checkout"}
    await writes_nothing_more(world, operator)


async def test_nobody_who_does_not_ask_is_annotated(world: Ground):
    await start(world, self_signing())

    await world.until_ready()

    assert annotations(world) == {}


@pytest.mark.parametrize("how", ["flag", "deletion", "account"])
async def test_our_annotation_goes_when_it_is_asked_for_no_more(world: Ground, how: str):
    await start(world, annotated())
    await world.until_ready()

    if how == "flag":
        world.apply(self_signing())
    elif how == "deletion":
        world.kube.delete(*USER)
    else:
        world.apply(annotated(serviceAccounts=["worker"]))

    await world.until(lambda: annotations(world) == {})


async def test_what_somebody_else_has_annotated_is_never_replaced(world: Ground):
    put_account(world, **{ROLE_ARN: THEIRS})

    operator = await _start_as_is(world, annotated())
    await world.until(lambda: world.conditions(*USER).get("AccessGranted") == ("False", "ServiceAccountTaken"))
    await writes_nothing_more(world, operator)
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert annotations(world) == {ROLE_ARN: THEIRS}


async def test_an_annotation_that_a_person_has_set_to_our_role_stays(world: Ground):
    operator = await start(world, self_signing())
    await world.until_ready()
    mine = {ROLE_ARN: status(world)["role"]["arn"]}
    put_account(world, **mine)

    for flag in (True, False):
        world.kube.put(self_signing(annotateServiceAccounts=flag))
        await world.until_quiet(operator)
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert annotations(world) == mine


async def test_an_annotation_that_was_changed_after_us_is_left_and_told(world: Ground):
    await start(world, annotated())
    await world.until_ready()

    put_account(world, **{ROLE_ARN: THEIRS, MARK: "checkout"})
    await world.until(lambda: world.conditions(*USER).get("AccessGranted") == ("False", "ServiceAccountTaken"))
    world.kube.delete(*USER)
    await world.until(lambda: world.kube.get(*USER) is None)

    assert annotations(world) == {ROLE_ARN: THEIRS}


async def test_without_the_right_it_is_told_which_value_gives_it(world: Ground):
    refusal = AccessDeniedError("cannot patch serviceaccounts", code="Forbidden")
    world.kube.fail_next("annotate_service_account", refusal, times=2)

    await start(world, annotated())
    await world.until(lambda: world.conditions(*USER).get("AccessGranted") == ("False", "AnnotationForbidden"))

    assert "rbac.annotateServiceAccounts" in world.condition(*USER, "AccessGranted")["message"]
    await world.later(world.is_ready, step_s=30)


async def test_a_missing_right_holds_up_no_deletion(world: Ground):
    await start(world, annotated())
    await world.until_ready()
    refusal = AccessDeniedError("cannot patch serviceaccounts", code="Forbidden")
    world.kube.fail_next("annotate_service_account", refusal, times=100)

    world.kube.delete(*USER)

    await world.until(lambda: world.kube.get(*USER) is None)


async def _start_as_is(world: Ground, manifest: Manifest) -> Operator:
    """Start with ServiceAccounts as they are."""
    world.add_cache()
    operator = await world.start(QUICK)
    world.kube.put(group_manifest())
    world.kube.put(manifest)
    return operator
