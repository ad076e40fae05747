"""The store: newest bodies, parsed once, and who names which group."""

import traceback

import pytest
from tests.builders import group_manifest, user_manifest

from elasticache_iam.api.parse import InvalidResourceError
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key
from elasticache_iam.reconcile.store import Store, group_key, user_key

USER = Key(USERS, "shop", "checkout")
GROUP = Key(GROUPS, "platform", "orders")
OTHER = Key(GROUPS, "platform", "sessions")


@pytest.fixture
def store():
    made = Store()
    made.observe(USER, user_manifest())
    made.observe(GROUP, group_manifest())
    return made


def test_a_resource_is_parsed_once_per_version(store):
    first = store.user(USER)

    assert store.user(USER) is first
    store.observe(USER, user_manifest(suspend=True))
    assert store.user(USER) is not first
    assert store.user(USER).spec.suspend


def test_what_is_wrong_with_a_resource_takes_no_more_room_each_time_it_is_told(store):
    store.observe(USER, user_manifest(access={"preset": "Everything"}))

    for _ in range(50):
        with pytest.raises(InvalidResourceError) as caught:
            store.user(USER)

    assert len(traceback.extract_tb(caught.value.__traceback__)) < 10


def test_only_the_latest_in_use_are_kept_parsed(store, monkeypatch):
    monkeypatch.setattr("elasticache_iam.reconcile.store.PARSED", 2)
    store.observe(OTHER, group_manifest("sessions"))
    first, group = store.user(USER), store.group(GROUP)
    assert store.user(USER) is first

    store.group(OTHER)

    assert store.user(USER) is first
    assert store.group(GROUP) is not group
    assert store.group(GROUP) == group


def test_a_body_is_given_back_as_it_came_but_for_its_managed_fields():
    store = Store()
    manifest = user_manifest(tags={"\ud800": "ünïcödé"})
    seen = {**manifest, "metadata": {**manifest["metadata"], "uid": "u", "managedFields": [{"manager": "kubectl"}]}}

    store.observe(USER, seen)

    assert store.body(USER) == {**manifest, "metadata": {**manifest["metadata"], "uid": "u"}}


def test_users_are_found_by_their_group(store):
    assert store.user_keys_of(GROUP) == (USER,)
    assert [user.metadata.name for user in store.users_of(GROUP)] == ["checkout"]


def test_a_user_that_moves_leaves_its_old_group(store):
    store.observe(USER, user_manifest(group="sessions"))

    assert store.user_keys_of(GROUP) == ()
    assert store.user_keys_of(OTHER) == (USER,)


def test_a_forgotten_user_leaves_its_group(store):
    store.forget(USER)

    assert store.user(USER) is None
    assert store.user_keys_of(GROUP) == ()


def test_a_groups_namespace_defaults_to_the_users():
    store = Store()
    store.observe(USER, user_manifest(groups=[{"name": "orders"}]))

    assert store.user_keys_of(Key(GROUPS, "shop", "orders")) == (USER,)


def test_a_user_that_breaks_its_rules_is_known_by_key_and_left_out(store):
    store.observe(USER, user_manifest(access={"preset": "Everything"}))

    assert store.user_keys_of(GROUP) == (USER,)
    assert list(store.users_of(GROUP)) == []
    with pytest.raises(InvalidResourceError):
        store.user(USER)
    with pytest.raises(InvalidResourceError):
        store.user(USER)


def test_a_group_that_breaks_its_rules_is_left_out(store):
    store.observe(OTHER, group_manifest("sessions", engine="memcached"))

    assert [group.metadata.name for group in store.groups()] == ["orders"]


@pytest.mark.parametrize("groups", [None, [], [None], [{"name": 7}], [{}], True, "orders", {"name": "orders"}])
def test_a_nonsensical_group_is_survived(groups):
    store = Store()

    store.observe(USER, user_manifest(groups=groups))

    assert store.all_keys() == (USER,)


def test_a_status_that_we_wrote_is_built_on(store):
    body = user_manifest()
    store.observe(USER, {**body, "metadata": {**body["metadata"], "uid": "u-1"}})

    store.note_status(USER, "u-1", {"id": "demo-x"}, resource_version="8")
    assert store.user(USER).status.id == "demo-x"
    store.note_status(USER, "another", {"id": "demo-y"}, resource_version="9")
    assert store.user(USER).status.id == "demo-x"


@pytest.mark.parametrize(("version", "seen"), [("7", "demo-x"), ("8", ""), ("9", ""), ("unknown", "")])
def test_a_watch_event_older_than_our_own_write_is_no_news(store, version, seen):
    body = user_manifest()
    old = {**body, "metadata": {**body["metadata"], "uid": "u-1", "resourceVersion": version}}
    store.observe(USER, {**old, "metadata": {**old["metadata"], "resourceVersion": "6"}})
    store.note_status(USER, "u-1", {"id": "demo-x"}, resource_version="8")

    store.observe(USER, old)

    assert store.user(USER).status.id == seen


def test_another_object_of_the_name_is_news_whatever_its_version(store):
    body = user_manifest()
    store.observe(USER, {**body, "metadata": {**body["metadata"], "uid": "u-1", "resourceVersion": "8"}})

    store.observe(USER, {**body, "metadata": {**body["metadata"], "uid": "u-2", "resourceVersion": "7"}})

    assert store.user(USER).metadata.uid == "u-2"


def test_keys_of_resources(store):
    user = store.user(USER)

    assert user_key(user) == USER
    assert group_key(user) == GROUP
