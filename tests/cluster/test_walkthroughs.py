"""The examples that users start from: from `kubectl apply` to a login, and back to nothing."""

import time

import pytest
import redis
from tests.builders import user_manifest
from tests.cluster.ground import GROUPS, USERS, note_measured

pytestmark = pytest.mark.cluster

Redis = redis.exceptions
NODE_BASED = tuple(f"redis-node-based/{name}.yaml" for name in ("namespaces", "usergroup", "users"))
STANDARD_KEYS = {"type", "provider", "host", "port", "username", "password", "ssl", "uri", "ca.crt", "expires-at"}


def take_to_ready(ground):
    ground.add_cache("sessions-prod")
    ground.start_operator()
    ground.apply_example(*NODE_BASED)
    ground.wait_until_ready("storefront", namespace="web")
    ground.wait_until_ready("cache-admin", namespace="platform")


@pytest.fixture(scope="module")
def shared_sessions(new_ground):
    """The example of a node-based Redis, Ready: for tests that change nothing."""
    with new_ground() as ground:
        take_to_ready(ground)
        yield ground


@pytest.fixture
def sessions(ground):
    """The same, for one test."""
    take_to_ready(ground)
    return ground


def verdict(client, command):
    """Return whether the server lets a command through: its refusals, and those of what AWS keeps from everybody."""
    try:
        client.execute_command(*command)
    except Redis.NoPermissionError:
        return "refused"
    except Redis.ResponseError as error:
        # Let through, but there is nothing to answer: CLUSTER SLOTS of a server that is none, say.
        return "refused" if "unknown command" in str(error) else "allowed"
    return "allowed"


# -- W1: Redis OSS, node-based, hardened default -----------------------------------------------------------------------


def test_an_open_cache_is_closed_to_all_but_its_users(ground):
    cache = ground.add_cache("sessions-prod")
    with ground.anonymous(cache) as anybody:
        assert anybody.ping()
    ground.start_operator()
    begin = time.monotonic()

    ground.apply_example(*NODE_BASED)
    ground.wait_until_ready("storefront", namespace="web")
    note_measured(time.monotonic() - begin)

    ground.wait_until_ready("sessions", plural=GROUPS, namespace="platform")
    with ground.anonymous(cache) as anybody, pytest.raises(Redis.RedisError, match="Authentication required"):
        anybody.get("session:1")
    with ground.login(ground.secret("storefront", "web")) as client:
        assert client.ping()


def test_the_secret_is_all_that_a_stock_client_needs(shared_sessions):
    secret = shared_sessions.secret("storefront", "web")

    assert set(secret) == STANDARD_KEYS
    with shared_sessions.login(secret) as client:
        client.set("session:1", "open")
        assert client.get("session:1") == b"open"


def test_the_secrets_uri_logs_in(shared_sessions):
    secret = shared_sessions.secret("storefront", "web")

    with redis.from_url(secret["uri"], ssl_ca_data=secret["ca.crt"]) as client:
        assert client.ping()


def test_the_application_is_held_to_its_keys_and_to_harmless_commands(shared_sessions):
    with shared_sessions.login(shared_sessions.secret("storefront", "web")) as client:
        for command in (("GET", "other:1"), ("SET", "other:1", "x"), ("FLUSHALL",), ("CONFIG", "GET", "*")):
            assert verdict(client, command) == "refused"


def test_the_administrator_reaches_every_key(shared_sessions):
    with shared_sessions.login(shared_sessions.secret("cache-admin", "platform")) as client:
        client.set("anything", "goes")

        assert client.flushall()


def test_deleting_everything_cuts_the_connection_and_leaves_nothing(sessions):
    secret = sessions.secret("storefront", "web")
    client = sessions.login(secret)
    client.ping()

    sessions.delete(USERS, "storefront", "web")
    sessions.delete(USERS, "cache-admin", "platform")
    sessions.delete(GROUPS, "sessions", "platform")
    sessions.wait_until_gone(USERS, "storefront", "web")
    sessions.wait_until_gone(USERS, "cache-admin", "platform")
    with client, pytest.raises(Redis.RedisError):
        client.ping()
    with sessions.login(secret) as again, pytest.raises(Redis.AuthenticationError):  # although the token lives
        again.ping()
    # The operator never detaches a group: the cache's owner decides what becomes of the cache.
    sessions.wait_for_condition(GROUPS, "sessions", "GroupSynced", namespace="platform", reason="StillAttached")
    sessions.elasticache.delete_replication_group(ReplicationGroupId="sessions-prod")
    sessions.wait_until_gone(GROUPS, "sessions", "platform")

    assert sessions.secret("storefront", "web") is None
    assert sessions.aws_listing() == set()


# -- W3: three roles on one cache --------------------------------------------------------------------------------------

READS = (("GET", "orders:1"), ("EXISTS", "orders:1"), ("STRLEN", "orders:1"))
WRITES = (("SET", "orders:1", "x"), ("DEL", "orders:2"), ("EXPIRE", "orders:1", "60"))
MANNERS = (("PING",), ("ACL", "WHOAMI"), ("CLUSTER", "SLOTS"), ("COMMAND", "INFO", "get"), ("INFO", "server"))
ELSEWHERE = (("GET", "billing:1"), ("EXISTS", "billing:1"))
WRITES_ELSEWHERE = (("SET", "billing:1", "x"), ("DEL", "billing:1"))
DANGEROUS = (("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CLIENT", "LIST"), ("ACL", "LIST"))
FOR_NOBODY = (("CONFIG", "GET", "*"), ("SHUTDOWN",), ("ACL", "SETUSER", "x"), ("DEBUG", "JMAP"))

ROLES = {
    "admin": (
        ("dba", "platform"),
        READS + WRITES + MANNERS + ELSEWHERE + WRITES_ELSEWHERE + DANGEROUS,
        FOR_NOBODY,
    ),
    "read-only": (
        ("reports", "shop"),
        READS + MANNERS,
        WRITES + ELSEWHERE + WRITES_ELSEWHERE + DANGEROUS + FOR_NOBODY,
    ),
    "service": (
        ("checkout", "shop"),
        READS + WRITES + MANNERS,
        ELSEWHERE + WRITES_ELSEWHERE + DANGEROUS + FOR_NOBODY,
    ),
}


def test_three_roles_may_exactly_what_they_are_for(shared_orders):
    shared_orders.apply_example("three-roles/users.yaml")
    for (name, namespace), *_ in ROLES.values():
        shared_orders.wait_until_ready(name, namespace=namespace)

    seen = {}
    for role, ((name, namespace), may, may_not) in ROLES.items():
        with shared_orders.login(shared_orders.secret(name, namespace)) as client:
            # One that the server disconnects (SHUTDOWN, say) would show as an error of another kind.
            seen |= {(role, command): verdict(client, command) for command in may + may_not}

    wanted = {(role, command): "allowed" for role, (_, may, _) in ROLES.items() for command in may}
    wanted |= {(role, command): "refused" for role, (_, _, may_not) in ROLES.items() for command in may_not}
    assert seen == wanted


def test_the_guides_access_string_lets_flushall_through_and_is_warned_of(shared_orders):
    literal = {"accessString": "on ~orders:* +@read +@write"}
    shared_orders.apply(user_manifest("guides", "platform", access=literal))
    shared_orders.wait_until_ready("guides", namespace="platform")

    with shared_orders.login(shared_orders.secret("guides", "platform")) as client:
        assert verdict(client, ("FLUSHALL",)) == "allowed"
        assert verdict(client, ("PING",)) == "refused"

    synced = shared_orders.conditions(USERS, "guides", "platform")["UserSynced"]
    assert synced["status"] == "True"
    assert "allows FLUSHALL" in synced["message"]
    assert "refuses PING" in synced["message"]


def test_an_applications_team_can_not_give_itself_the_guides_access_string(shared_orders):
    literal = {"accessString": "on ~orders:* +@read +@write"}

    shared_orders.apply(user_manifest("literal", "shop", access=literal))

    shared_orders.wait_for_condition(USERS, "literal", "MembershipSynced", reason="NotAdmitted")
    assert shared_orders.secret("literal") is None
    assert not [line for line in shared_orders.aws_listing() if "literal" in line]


def test_a_second_look_at_what_is_ready_changes_nothing(shared_orders):
    before, written = shared_orders.get(USERS, "checkout")["status"], len(shared_orders.writes())

    shared_orders.annotate("checkout", note="only to wake the operator up")
    time.sleep(0.5)

    assert shared_orders.get(USERS, "checkout")["status"] == before
    assert shared_orders.writes()[written:] == []
