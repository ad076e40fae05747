"""The edge: what watches bring, where it goes, and what wakes whom."""

import asyncio
import copy
from collections.abc import Iterable
from itertools import islice
from typing import Any

import kopf
import pytest
from tests.builders import group_manifest, user_manifest
from tests.fakes.kube import FakeKube

from elasticache_iam.reconcile.queue import GROUPS, USERS, Key
from elasticache_iam.reconcile.store import Store
from elasticache_iam.runtime.edge import Edge, make_registry, make_settings, resync_forever

USER = Key(USERS, "shop", "checkout")
GROUP = Key(GROUPS, "platform", "orders")
STATUS = {
    "id": "demo-checkout",
    "arn": "arn:u",
    "role": {"arn": "arn:aws:iam::111122223333:role/r"},
    "caches": [{"name": "main", "id": "c", "arn": "arn:c", "region": "eu-central-1", "host": "h", "port": 1}],
}


class FakeQueue:
    """Hears who is woken.

    Attributes:
        woken: Key to whether it was urgent.
    """

    def __init__(self) -> None:
        self.woken: dict[Key, bool] = {}

    def wake(self, key: Key, *, is_urgent: bool = False) -> None:
        self.woken[key] = is_urgent

    def forget(self, key: Key) -> None:
        self.woken.pop(key, None)


class FakeGuard:
    """Hears of deletions."""

    def __init__(self) -> None:
        self.deleted: list[Key] = []

    def note_deleted(self, key: Key) -> None:
        self.deleted.append(key)


class FakePlane:
    """The parts of the plane that the edge touches."""

    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.store = Store()
        self.queue = FakeQueue()
        self.forgotten: list[Key] = []
        self.guard = FakeGuard()

    def forget(self, key: Key) -> None:
        self.forgotten.append(key)

    def allow_minting(self, key: tuple[str, str]) -> None:
        """Nothing was stopped."""

    def woken(self) -> set[Key]:
        """Return what was woken since the last time it was asked."""
        woken = set(self.queue.woken)
        self.queue.woken.clear()
        return woken


@pytest.fixture
async def plane():
    return FakePlane(FakeKube())


@pytest.fixture
def minted():
    return []


@pytest.fixture
def edge(plane, minted):
    return Edge(plane, lambda key, order: minted.append((key, order)))


def body(manifest: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    made = copy.deepcopy(manifest)
    made["metadata"] = {**made["metadata"], "uid": "u", "generation": 1, **metadata}
    return made


def test_a_new_user_is_looked_at(edge, plane):
    edge.see(USERS, "ADDED", body(user_manifest()))

    assert plane.woken() == {USER}
    assert plane.store.user(USER) is not None


def test_a_changed_group_has_its_users_looked_at_too(edge, plane):
    edge.see(USERS, None, body(user_manifest()))
    plane.woken()

    edge.see(GROUPS, "ADDED", body(group_manifest()))

    assert plane.woken() == {GROUP, USER}


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 2},
        {"annotations": {"elasticache-iam.dev/refresh": "now"}},
        {"deletionTimestamp": "2026-11-21T09:00:00Z"},
        {"finalizers": ["a/b"]},
        {"uid": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_resource_asks_wakes_it(edge, plane, change):
    edge.see(USERS, "ADDED", body(user_manifest()))
    plane.woken()

    edge.see(USERS, "MODIFIED", body(user_manifest(), **change))

    assert plane.woken() == {USER}


def test_what_is_listed_anew_wakes_nobody(edge, plane, minted):
    edge.see(USERS, "ADDED", body(user_manifest(), resourceVersion="1"))
    plane.woken()

    edge.see(USERS, None, body(user_manifest(), resourceVersion="1"))

    assert plane.woken() == set()
    assert len(minted) == 1


def test_an_edit_that_came_before_a_status_of_ours_is_seen(edge, plane):
    edge.see(USERS, "ADDED", body(user_manifest(), resourceVersion="1"))
    plane.store.note_status(USER, "u", STATUS, resource_version="3")
    plane.woken()

    edge.see(USERS, "MODIFIED", {**body(user_manifest(), generation=2, resourceVersion="3"), "status": STATUS})

    assert plane.woken() == {USER}


def test_a_status_wakes_nobody_but_is_known(edge, plane):
    edge.see(USERS, "ADDED", body(user_manifest()))
    plane.woken()

    edge.see(USERS, "MODIFIED", {**body(user_manifest(), resourceVersion="2"), "status": STATUS})

    assert plane.woken() == set()
    assert plane.store.user(USER).status.id == "demo-checkout"


def test_any_status_of_a_group_wakes_users_that_wait(edge, plane):
    edge.see(USERS, None, body(user_manifest()))
    edge.see(GROUPS, None, body(group_manifest()))
    plane.woken()

    edge.see(GROUPS, "MODIFIED", {**body(group_manifest()), "status": {"members": 1}})

    assert plane.woken() == {USER}


READY_STATUS = {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": ""}]}


def test_a_status_of_a_group_is_no_news_to_users_that_are_ready(edge, plane):
    edge.see(USERS, None, {**body(user_manifest()), "status": READY_STATUS})
    edge.see(GROUPS, None, body(group_manifest()))
    plane.woken()

    edge.see(GROUPS, "MODIFIED", {**body(group_manifest()), "status": {"members": 1}})

    assert plane.woken() == set()


def test_what_somebody_changed_is_urgent_and_what_is_new_is_not(edge, plane):
    edge.see(USERS, "ADDED", body(user_manifest()))
    assert plane.queue.woken == {USER: False}

    edge.see(USERS, "MODIFIED", body(user_manifest(), generation=2))

    assert plane.queue.woken == {USER: True}


def test_what_is_to_be_minted_goes_to_the_token_plane(edge, minted):
    edge.see(USERS, "ADDED", body(user_manifest()))
    edge.see(USERS, "MODIFIED", {**body(user_manifest()), "status": STATUS})

    (_, nothing), (key, order) = minted
    assert nothing is None
    assert key == ("shop", "checkout")
    assert order.user_id == "demo-checkout"


@pytest.mark.parametrize("hold", ["plan-only", "paused"])
def test_an_edit_of_a_user_on_hold_changes_no_tokens(edge, minted, hold):
    edited, held = user_manifest(service_account="x"), {f"elasticache-iam.dev/{hold}": "true"}
    edge.see(USERS, "ADDED", {**body(user_manifest()), "status": STATUS})

    edge.see(USERS, "MODIFIED", {**body(edited, annotations=held, generation=2), "status": STATUS})
    edge.see(USERS, "MODIFIED", {**body({**edited, "spec": {}}, annotations=held, generation=3), "status": STATUS})
    edge.see(USERS, "MODIFIED", {**body(edited, generation=4), "status": STATUS})

    orders = [order for _, order in minted]
    assert orders[0] == orders[1] == orders[2]
    assert [order.service_account for order in orders] == ["checkout", "checkout", "checkout", "x"]


def test_a_refresh_of_a_user_on_hold_is_no_edit(edge, minted):
    edge.see(USERS, "ADDED", {**body(user_manifest()), "status": STATUS})

    asked = {"elasticache-iam.dev/paused": "true", "elasticache-iam.dev/refresh": "now"}
    edge.see(USERS, "MODIFIED", {**body(user_manifest(suspend=True), annotations=asked), "status": STATUS})

    assert [order.refresh for _, order in minted] == ["", "now"]


def test_what_another_user_of_the_same_name_asked_for_before_it_was_on_hold_counts_no_more(edge, minted):
    held = {"elasticache-iam.dev/paused": "true"}
    edge.see(USERS, "ADDED", {**body(user_manifest()), "status": STATUS})
    edge.see(USERS, "MODIFIED", {**body(user_manifest(), annotations=held), "status": STATUS})

    other = body(user_manifest(service_account="x"), annotations=held, uid="other")
    edge.see(USERS, "MODIFIED", {**other, "status": STATUS})

    assert minted[-1][1].service_account == "x"


def test_a_user_that_breaks_its_rules_keeps_what_was_delivered_to_it(edge, minted):
    edge.see(USERS, "ADDED", {**body(user_manifest(access={"preset": "X"})), "status": STATUS})

    assert [target.alias for target in minted[0][1].caches] == ["main"]


def test_a_new_user_that_breaks_its_rules_mints_nothing(edge, minted):
    edge.see(USERS, "ADDED", body(user_manifest(access={"preset": "X"})))

    assert minted == [(("shop", "checkout"), None)]


def test_a_deleted_user_is_forgotten_everywhere(edge, plane, minted):
    edge.see(USERS, "ADDED", {**body(user_manifest()), "status": STATUS})

    edge.see(USERS, "DELETED", body(user_manifest()))

    assert plane.woken() == {GROUP}
    assert plane.store.body(USER) is None
    assert plane.forgotten == [USER]
    assert plane.guard.deleted == [USER]
    assert minted[-1] == (("shop", "checkout"), None)


async def test_only_a_deletion_that_was_seen_is_one(edge, plane):
    other = Key(USERS, "shop", "other")
    ending = body(user_manifest(name="other"))
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    edge.see(USERS, "ADDED", body(user_manifest()))
    edge.see(USERS, "MODIFIED", ending)

    await edge.resync()  # lists neither

    assert plane.store.all_keys() == ()
    assert plane.guard.deleted == [other]


def test_a_deleted_group_has_its_users_looked_at(edge, plane):
    edge.see(USERS, None, body(user_manifest()))
    edge.see(GROUPS, None, body(group_manifest()))
    plane.woken()

    edge.see(GROUPS, "DELETED", body(group_manifest()))

    assert plane.woken() == {USER}


async def test_a_resync_finds_what_a_silent_watch_missed(edge, plane):
    plane.kube.put(group_manifest())
    plane.kube.put(user_manifest())

    assert await edge.resync() == {GROUPS: 1, USERS: 1}
    assert plane.woken() == {GROUP, USER}
    assert await edge.resync() == {GROUPS: 0, USERS: 0}
    assert plane.woken() == set()


async def test_a_resync_finds_changes_and_deletions(edge, plane, minted):
    plane.kube.put(group_manifest())
    plane.kube.put(user_manifest())
    await edge.resync()
    plane.woken()
    plane.kube.put(group_manifest(engine="valkey"))
    plane.kube.delete(USERS, "shop", "checkout")

    assert await edge.resync() == {GROUPS: 1, USERS: 1}

    assert plane.store.group(GROUP).spec.engine == "valkey"
    assert plane.store.body(USER) is None
    assert minted[-1] == (("shop", "checkout"), None)


@pytest.mark.looptime
async def test_resyncs_come_at_their_interval(edge, plane):
    found: list[tuple[str, int]] = []
    plane.kube.put(group_manifest())
    forever = resync_forever(edge, interval_s=100.0, report=lambda kind, count: found.append((kind, count)))
    task = asyncio.create_task(forever)

    await asyncio.sleep(350)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [count for kind, count in found if kind == GROUPS] == [1, 0, 0]


def test_kopf_watches_our_two_kinds_and_writes_nothing(edge):
    registry, settings = make_registry(edge), make_settings(clusterwide=True)

    handlers = list(registry._watching.get_all_handlers())
    assert sorted(str(handler.selector.plural or handler.selector.any_name) for handler in handlers) == [USERS, GROUPS]
    assert registry._changing.get_all_handlers() == []
    assert registry._spawning.get_all_handlers() == []
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    assert isinstance(registry, kopf.OperatorRegistry)


def test_kopf_never_gives_up_and_never_waits_for_long():
    backoffs = make_settings(clusterwide=True).networking.error_backoffs
    assert isinstance(backoffs, Iterable)

    waits = list(islice(backoffs, 1000))

    assert len(waits) == 1000
    assert max(waits) == 5.0
    assert list(islice(backoffs, 4)) == waits[:4]  # for each request anew
