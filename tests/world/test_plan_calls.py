"""What a plan shows is what the adapters send: every write of the port, in both services."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from tests.builders import ACCOUNT, OWNER, REGION
from tests.world.harness import Ground
from tests.world.test_plan import READS, without_passwords

from elasticache_iam.api.group import Service
from elasticache_iam.api.keys import TAG_ALLOW
from elasticache_iam.aws.api import Api
from elasticache_iam.core import names
from elasticache_iam.core.plan.calls import Call
from elasticache_iam.core.state import CacheKind, CacheRef, Place
from elasticache_iam.ports import Aws
from elasticache_iam.reconcile.preview.aws import PreviewAws

TAGS: Final = {"elasticache-iam.dev/owner": "demo", "team": "orders"}
TRUST: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    ],
}
POLICY: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
ELASTICACHE = Place(Service.ELASTICACHE, ACCOUNT, REGION)
MEMORYDB = Place(Service.MEMORYDB, ACCOUNT, REGION)
BOUNDARY: Final = f"arn:aws:iam::{ACCOUNT}:policy/boundary"


def user_arn(place: Place) -> str:
    return names.user_arn(place, "demo-x")


async def make_role(aws: Aws, boundary: str | None = None) -> None:
    await aws.create_role(
        "demo-r", path="/elasticache-iam/demo/", trust=TRUST, tags=TAGS, boundary=boundary, max_session_s=3600,
        description="of a test",
    )  # fmt: skip


async def make_user(aws: Aws) -> None:
    await aws.create_user("demo-x", engine="redis", access_string="on ~* +@read", tags=TAGS)


async def all_of_a_user(aws: Aws, place: Place) -> None:
    await make_user(aws)
    await aws.set_access_string("demo-x", "on ~a +@read")
    await aws.set_iam_mode("demo-x")
    await aws.set_tags(user_arn(place), {"a": "b"})
    await aws.remove_tags(user_arn(place), frozenset({"a", "never"}))
    await aws.delete_user("demo-x")


async def all_of_a_group(aws: Aws, place: Place) -> None:
    await make_user(aws)
    first: frozenset[str] = frozenset()
    if place.service is Service.ELASTICACHE:
        await aws.create_default_user("demo-default-00000000", engine="redis", tags=TAGS)
        first = frozenset({"demo-default-00000000"})
    await aws.create_group("demo-g", engine="redis", user_ids=first, tags=TAGS)
    await aws.modify_group("demo-g", add=frozenset({"demo-x"}), remove=frozenset())
    await aws.modify_group("demo-g", add=frozenset(), remove=frozenset({"demo-x"}))
    await aws.delete_group("demo-g")


async def all_of_a_role(aws: Aws, _place: Place) -> None:
    await make_role(aws)
    await aws.put_role_policy("demo-r", "p", POLICY)
    await aws.set_trust("demo-r", {**TRUST, "Statement": TRUST["Statement"] * 2})
    await aws.set_boundary("demo-r", BOUNDARY)
    await aws.set_max_session("demo-r", 7200)
    await aws.tag_role("demo-r", {"a": "b"})
    await aws.untag_role("demo-r", frozenset({"a"}))
    await aws.delete_role_policy("demo-r", "p")
    await aws.put_role_policy("demo-r", "q", POLICY)
    await aws.delete_role("demo-r")


async def an_engine(aws: Aws, _place: Place) -> None:
    await aws.create_default_user("demo-default-00000000", engine="redis", tags=TAGS)
    await aws.create_group("demo-g", engine="redis", user_ids=frozenset({"demo-default-00000000"}), tags=TAGS)
    await aws.set_group_engine("demo-g", "valkey")


async def an_attachment(aws: Aws, place: Place, kind: CacheKind) -> None:
    await make_user(aws)
    engine = "valkey" if place.service is Service.ELASTICACHE else ""
    await aws.create_group("demo-g", engine=engine, user_ids=frozenset({"demo-x"}), tags=TAGS)
    await aws.attach_group(CacheRef(kind, "orders-prod"), "demo-g")


STORIES: dict[str, tuple[Place, Callable[[Aws, Place], Awaitable[None]]]] = {
    "elasticache-user": (ELASTICACHE, all_of_a_user),
    "elasticache-group": (ELASTICACHE, all_of_a_group),
    "elasticache-engine": (ELASTICACHE, an_engine),
    "memorydb-user": (MEMORYDB, all_of_a_user),
    "memorydb-group": (MEMORYDB, all_of_a_group),
    "role": (ELASTICACHE, all_of_a_role),
    "replication-group": (ELASTICACHE, lambda aws, place: an_attachment(aws, place, CacheKind.REPLICATION_GROUP)),
    "serverless-cache": (ELASTICACHE, lambda aws, place: an_attachment(aws, place, CacheKind.SERVERLESS_CACHE)),
    "memorydb-cluster": (MEMORYDB, lambda aws, place: an_attachment(aws, place, CacheKind.MEMORYDB_CLUSTER)),
}


@dataclass
class Recorder:
    """The calls that a preview notes, and those that the adapter sends. Nothing is sent."""

    noted: list[Call] = field(default_factory=list)
    sent: list[Call] = field(default_factory=list)


@pytest.mark.parametrize("story", STORIES)
async def test_a_plan_shows_calls_as_they_are_sent(world: Ground, monkeypatch: pytest.MonkeyPatch, story: str):
    place, tell = STORIES[story]
    recorder = Recorder()
    world.add_cache("orders-prod", engine="valkey", engine_version="8.0")
    for add in (world.world.add_serverless_cache, world.world.add_memorydb_cluster):
        add(ACCOUNT, REGION, "orders-prod", engine="valkey", host="127.0.0.1", port=6379, tags={TAG_ALLOW: OWNER})
    world.operator_key = world.admin_key  # it is the words that count here, not the rights
    world.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(POLICY))
    operator = await world.start()
    aws = operator.plane.aws(place)
    call = Api.call

    async def noted(self: Api, service: str, operation: str, parameters: Any, **options: Any) -> Any:
        if not operation.startswith(READS):
            recorder.sent.append(Call(service, operation, without_passwords(parameters)))
        return await call(self, service, operation, parameters, **options)

    monkeypatch.setattr(Api, "call", noted)
    preview = PreviewAws(aws, place, lambda _place, made: recorder.noted.append(made))
    await preview.get_inventory(max_age_s=0.0, slow_max_age_s=0.0)
    await tell(preview, place)
    assert recorder.sent == []
    world.settings.transition_s = 0.0
    await tell(aws, place)

    assert recorder.sent == recorder.noted
