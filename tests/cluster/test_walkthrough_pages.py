"""Walkthroughs whose pages are followed to the letter: every command is run, and what they claim is looked at."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from botocore.exceptions import ClientError
from tests.cluster.ground import GROUPS, USERS
from tests.cluster.pages import Page
from tests.waiting import wait_for

from elasticache_iam.client import SecretFileCredentialProvider
from elasticache_iam.core import names
from elasticache_iam.core.token import Credentials, sign_token

pytestmark = pytest.mark.cluster

Redis = redis.exceptions


def assert_closed(ground, cache):
    with ground.anonymous(cache) as anybody, pytest.raises(Redis.RedisError, match="Authentication required"):
        anybody.get("anything")


def assert_opens_nothing(ground, secret):
    """Check that a Secret's token, which isn't expired, opens nothing any more."""
    with ground.login(secret) as client, pytest.raises(Redis.AuthenticationError):
        client.ping()


def ours(ground, name, namespace="shop"):
    """Return the id that a resource has in AWS."""
    return names.default_id(ground.owner, ground.namespaces[namespace], name)


def in_aws(ground, *resources):
    """Return what AWS still has of resources, given as namespace and name."""
    ids = [ours(ground, name, namespace) for namespace, name in resources]
    return [line for line in ground.aws_listing() if line.split()[-1] in ids]


def group_in_aws(ground, group_id):
    (group,) = ground.elasticache.describe_user_groups(UserGroupId=group_id)["UserGroups"]
    return group


def user_in_aws(ground, user_id):
    (user,) = ground.elasticache.describe_users(UserId=user_id)["Users"]
    return user


def tags_of(ground, arn):
    return {tag["Key"]: tag["Value"] for tag in ground.elasticache.list_tags_for_resource(ResourceName=arn)["TagList"]}


# -- the quickstart ----------------------------------------------------------------------------------------------------


def test_the_quickstart(attentive):
    page = Page(attentive, "quickstart.md")
    page.skip("Watch it")
    page.skip("1.")
    page.skip("2.")
    cache = attentive.add_cache("orders-prod", consent=False)

    assert "ConsentMissing" in page.follow("3.")
    page.follow("4.")
    assert_closed(attentive, cache)
    *answers, refusals = [line for line in page.follow("5.").splitlines() if line]
    assert [answer.split()[0] for answer in answers[:4]] == ["OK", "NOPERM", "NOPERM", "ERR"]
    assert json.loads(refusals)[-1]["reason"] == "Malformed"
    before = attentive.secret("checkout")["password"]
    assert datetime.fromisoformat(page.follow("6.").split()[0]) > datetime.now(UTC)
    wait_for(lambda: attentive.secret("checkout")["password"] != before)
    page.follow("7.")

    page.follow("8.")
    page.check_all_followed()
    assert in_aws(attentive, ("platform", "orders"), ("shop", "checkout")) == []


# -- W1: Redis, node-based ---------------------------------------------------------------------------------------------


def test_redis_node_based_with_a_hardened_default_user(attentive):
    page = Page(attentive, "walkthroughs/w1-redis-node-based.md")
    cache = attentive.add_cache("sessions-prod", consent=False)

    page.follow("1.")
    page.follow("2.")
    page.follow("3.")
    assert_closed(attentive, cache)
    page.follow("4.")

    pong, *refusals = page.follow("5.").splitlines()
    assert pong == "PONG"
    assert [line.split()[0] for line in refusals if line] == ["NOPERM", "NOPERM"]

    page.follow("6.")
    page.check_all_followed()
    assert in_aws(attentive, ("platform", "sessions"), ("platform", "cache-admin"), ("web", "storefront")) == []


# -- W2: Terraform Enterprise ------------------------------------------------------------------------------------------


def settings_of(ground, name):
    return ground.get("configmaps", name, "web")["data"]


def test_terraform_enterprise_without_a_password(attentive, tmp_path):
    page = Page(attentive, "walkthroughs/w2-terraform-enterprise.md")
    cache = attentive.add_cache("tfe-prod", consent=False)
    user_id = ours(attentive, "terraform-enterprise", "web")

    page.follow("1.")
    page.follow("2.")
    assert_closed(attentive, cache)
    settings = settings_of(attentive, "terraform-enterprise-redis")
    assert settings["TFE_REDIS_HOST"] == f"{cache.host}:{cache.port}"
    assert {key: value for key, value in settings.items() if not key.endswith("HOST")} == {
        f"{prefix}{key}": value
        for prefix in ("TFE_REDIS_", "TFE_REDIS_SIDEKIQ_")
        for key, value in {
            "USER": user_id,
            "USE_TLS": "true",
            "USE_AUTH": "true",
            "PASSWORDLESS_AWS_USE_INSTANCE_PROFILE": "true",
            "PASSWORDLESS_AWS_REGION": attentive.account.region,
            "PASSWORDLESS_AWS_HOST_NAME": "tfe-prod",
            "PASSWORDLESS_AWS_SERVICE_NAME": "elasticache",
        }.items()
    }
    assert attentive.secret("terraform-enterprise", "web") is None

    page.follow("3.")
    said = page.follow("5.").split()
    assert said == ["TFE_REDIS_", user_id, "TFE_REDIS_SIDEKIQ_", user_id]
    assert attentive.secret("terraform-enterprise", "web") is None

    page.follow("6.")
    monitor = settings_of(attentive, "queue-monitor-redis")
    for key, value in attentive.secret("queue-monitor", "web").items():  # the kubelet's part
        (tmp_path / key).write_text(value)
    provider = SecretFileCredentialProvider(tmp_path, password_file=Path(monitor["REDIS_PASSWORD_FILE"]).name)
    with redis.Redis(
        monitor["REDIS_HOST"],
        int(monitor["REDIS_PORT"]),
        credential_provider=provider,
        ssl=True,
        ssl_ca_certs=cache.ca_file,
    ) as client:
        assert client.get("tfe:seen") == b"TFE_REDIS_SIDEKIQ_"
        with pytest.raises(Redis.NoPermissionError):
            client.set("tfe:seen", "x")
    assert "Warning" not in attentive.conditions(USERS, "queue-monitor", "web")["TokenDelivered"]["message"]

    page.follow("7.")
    page.check_all_followed()
    wait_for(lambda: attentive.get("configmaps", "queue-monitor-redis", "web") is None, what="the ConfigMap to go")
    made = [("web", "terraform-enterprise"), ("web", "queue-monitor"), ("platform", "tfe")]
    assert in_aws(attentive, *made) == []


# -- W3: three roles on one cache --------------------------------------------------------------------------------------


def test_three_roles_on_one_cache(attentive):
    page = Page(attentive, "walkthroughs/w3-three-roles.md")
    attentive.add_cache("orders-prod", consent=False)

    page.follow("1.")
    page.follow("2.")

    said = [line.split()[0] for line in page.follow("3.").splitlines() if line]
    assert said == ["OK", "hello", "NOPERM", "NOPERM", "OK", "ERR"]

    page.follow("4.")
    page.check_all_followed()
    assert (
        in_aws(attentive, ("platform", "orders"), ("platform", "dba"), ("shop", "checkout"), ("shop", "reports")) == []
    )


# -- W4: MemoryDB ------------------------------------------------------------------------------------------------------


def test_memorydb_in_cluster_mode(attentive):
    page = Page(attentive, "walkthroughs/w4-memorydb.md")
    cache = attentive.add_cache("ledger-prod", engine="valkey", kind="memorydb", shards=2, consent=False)
    with attentive.anonymous(cache) as anybody:
        assert anybody.ping()

    page.follow("1.")
    page.follow("2.")
    assert_closed(attentive, cache)

    assert "64 keys written and read on 2 nodes" in page.follow("3.")
    secret = attentive.secret("bookkeeper")

    page.follow("4.")
    page.check_all_followed()
    assert attentive.secret("bookkeeper") is None
    users = {user["Name"] for user in attentive.memorydb.describe_users()["Users"]}
    assert ours(attentive, "bookkeeper") not in users
    assert {acl["Name"] for acl in attentive.memorydb.describe_acls()["ACLs"]} == {"open-access"}
    assert in_aws(attentive, ("shop", "bookkeeper")) == []
    assert "memorydb" in secret["password"]


# -- W5: serverless ----------------------------------------------------------------------------------------------------


def test_a_serverless_cache(attentive):
    page = Page(attentive, "walkthroughs/w5-serverless.md")
    cache = attentive.add_cache("carts-prod", engine="valkey", kind="serverless", consent=False)

    page.follow("1.")
    page.follow("2.")
    assert_closed(attentive, cache)

    assert page.follow("3.").split() == ["ResourceType=ServerlessCache", "OK"]

    page.follow("4.")
    page.check_all_followed()
    assert in_aws(attentive, ("shop", "cart-service"), ("platform", "carts")) == []


# -- W6: Valkey, and from Redis to Valkey ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valkey_page(attentive):
    page = Page(attentive, "walkthroughs/w6-valkey.md")
    page.catalog = attentive.add_cache("catalog-prod", engine="valkey", consent=False)
    page.inventory = attentive.add_cache("inventory-prod", engine="redis", consent=False)
    page.follow("1.")
    return page


def test_a_valkey_cache_needs_no_default_user(attentive, valkey_page):
    valkey_page.follow("2.")

    attentive.wait_for_condition(GROUPS, "catalog", "DefaultUserHardened", namespace="platform", reason="NotNeeded")
    group = group_in_aws(attentive, ours(attentive, "catalog", "platform"))
    assert group["UserIds"] == [ours(attentive, "catalog-api")]
    assert_closed(attentive, valkey_page.catalog)
    with attentive.login(attentive.secret("catalog-api")) as client:
        assert client.set("catalog:1", "x")


def test_a_group_becomes_valkey_under_a_live_client(attentive, valkey_page):
    valkey_page.follow("3.")
    before = attentive.secret("stock")
    client = attentive.login(before)
    client.set("stock:1", 7)

    valkey_page.follow("4.")
    assert client.get("stock:1") == b"7"
    shown = valkey_page.follow("5.")
    group_id = ours(attentive, "inventory", "platform")

    assert group_id in shown.split()
    default = names.default_user_id(attentive.owner, group_id)
    assert set(group_in_aws(attentive, group_id)["UserIds"]) == {default, ours(attentive, "stock")}
    assert client.incr("stock:1") == 8
    wait_for(lambda: attentive.secret("stock")["password"] != before["password"], what="a new token")
    with attentive.login(attentive.secret("stock")) as another:
        assert another.get("stock:1") == b"8"
    assert_closed(attentive, valkey_page.inventory)

    valkey_page.follow("6.")
    valkey_page.check_all_followed()
    with client, pytest.raises(Redis.RedisError):
        client.ping()
    made = [("shop", "stock"), ("platform", "inventory"), ("shop", "catalog-api"), ("platform", "catalog")]
    assert in_aws(attentive, *made) == []


def test_a_group_can_not_be_valkey_before_its_cache(attentive):
    group = attentive.add_group()
    attentive.wait_until_ready(group, plural=GROUPS, namespace="platform")

    attentive.patch(GROUPS, group, {"spec": {"engine": "valkey"}}, "platform")

    attentive.wait_for_condition(GROUPS, group, "GroupSynced", namespace="platform", reason="EngineMismatch")
    assert attentive.conditions(GROUPS, group, "platform")["Stalled"]["status"] == "True"
    attentive.elasticache.modify_replication_group(
        ReplicationGroupId=f"{group}-cache", Engine="valkey", EngineVersion="8.1", ApplyImmediately=True
    )
    attentive.wait_until_ready(group, plural=GROUPS, namespace="platform", timeout_s=30)


# -- W7: workload identity federation ----------------------------------------------------------------------------------


def test_workload_identity_federation(ground):
    page = Page(ground, "walkthroughs/w7-federation.md")
    cache = ground.add_cache("tickets-prod", engine="valkey", consent=False)
    provider = names.oidc_provider_arn(ground.account.region, ground.account.account_id, ground.control_plane.issuer)
    ground.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)
    ground.start_operator(driftInterval=1.0, slowDriftInterval=1.0, massDeletionPercent=100)

    page.follow("1.")
    known = ground.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider)
    assert set(known["ClientIDList"]) == {"elasticache-iam.dev/sign", "sts.amazonaws.com"}

    page.follow("2.")
    page.follow("3.")
    assert_closed(ground, cache)

    shown = page.follow("4.")
    namespace, host = ground.namespaces["shop"], names.issuer_host(ground.control_plane.issuer)
    (statement,) = json.JSONDecoder().raw_decode(shown)[0]
    assert statement["Principal"] == {"Federated": provider}
    assert statement["Condition"] == {
        "StringEquals": {
            f"{host}:aud": "elasticache-iam.dev/sign",
            f"{host}:sub": [f"system:serviceaccount:{namespace}:ticket-{who}" for who in ("api", "worker")],
        }
    }
    assert shown.count("(AccessDenied)") == 2

    assert page.follow("5.").strip() == "OK"

    user_id = ours(ground, "tickets")
    assert page.follow("6.") == f"ticket:count is 1, by {user_id}\n"

    secret, identity = ground.secret("tickets"), worker_identity(ground)
    session = become(ground, identity)
    with ground.login(secret) as api, ground.login({**secret, "password": sign(ground, session)}) as worker:
        assert api.get("ticket:count") == worker.get("ticket:count") == b"1"

        page.follow("7.")

        for live in (api, worker):
            with pytest.raises(Redis.RedisError):
                live.ping()
    assert ground.secret("tickets") is None
    assert_opens_nothing(ground, secret)
    assert_opens_nothing(ground, {**secret, "password": sign(ground, session)})
    with pytest.raises(ClientError, match="AccessDenied"):
        become(ground, identity)

    page.follow("8.")
    page.check_all_followed()
    assert ground.aws_listing() == set()
    assert ground.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []


def worker_identity(ground):
    """Return a token of the worker's ServiceAccount for the role."""
    asked = ("create", "token", "ticket-worker", "--audience", "elasticache-iam.dev/sign")
    return ground.control_plane.kubectl("-n", ground.namespaces["shop"], *asked).stdout.strip()


def become(ground, identity):
    """Become the role as the page's worker does; return credentials that outlast the user."""
    account = ground.account
    role = names.role_arn(account.region, account.account_id, names.role_path(ground.owner), ours(ground, "tickets"))
    found = (
        ground.sandbox.admin_session(account)
        .client("sts")
        .assume_role_with_web_identity(
            RoleArn=role, RoleSessionName="worker", WebIdentityToken=identity, DurationSeconds=43200
        )["Credentials"]
    )
    return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], found["Expiration"])


def sign(ground, session):
    """Return a token of now."""
    return sign_token(
        session,
        service="elasticache",
        region=ground.account.region,
        cache_id="tickets-prod",
        user_id=ours(ground, "tickets"),
        now=datetime.now(UTC),
    ).text


# -- W9: adoption ------------------------------------------------------------------------------------------------------


def adoptions(ground):
    """Return the resources that an Event says to have adopted something."""
    found = set()
    for name, namespace in ground.namespaces.items():
        events = ground.control_plane.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")["items"]
        found |= {(name, event["regarding"]["name"]) for event in events if event["reason"] == "Adopted"}
    return found


def test_what_terraform_made_is_referenced_then_adopted(attentive):
    page = Page(attentive, "walkthroughs/w9-adoption.md")
    for cache_id in ("billing-prod", "reports-prod"):
        attentive.add_cache(cache_id, consent=False)
    page.follow("1.")
    billing, reports = group_in_aws(attentive, "billing"), group_in_aws(attentive, "reports")
    etl = user_in_aws(attentive, "reports-etl")

    # Reference: our member beside Terraform's, and nothing else.
    page.follow("2.")
    page.follow("3.")
    lent = group_in_aws(attentive, "billing")
    assert set(lent["UserIds"]) == {*billing["UserIds"], ours(attentive, "invoices")}
    assert lent["ReplicationGroups"] == ["billing-prod"]
    assert tags_of(attentive, lent["ARN"]) == {"team": "billing", **attentive.consent}
    with attentive.login(attentive.secret("invoices")) as client:
        assert client.set("invoice:1", "x")

    # Adopt: first a plan, which changes nothing, and names what is missing.
    plan = page.follow("4.")
    assert "ConsentMissing" in plan
    assert group_in_aws(attentive, "reports") == reports
    assert attentive.secret("reports-etl") is None

    page.follow("5.")
    assert adoptions(attentive) >= {("platform", "reports"), ("shop", "reports-etl")}
    adopted = group_in_aws(attentive, "reports")
    default = names.default_user_id(attentive.owner, "reports")
    assert set(adopted["UserIds"]) == {"reports-batch", "reports-etl", default}
    assert adopted["ReplicationGroups"] == ["reports-prod"]
    assert tags_of(attentive, adopted["ARN"]).items() >= {"team": "reports", **attentive.consent}.items()
    assert user_in_aws(attentive, "reports-etl")["AccessString"] == etl["AccessString"]
    assert tags_of(attentive, etl["ARN"])["team"] == "reports"
    with attentive.login(attentive.secret("reports-etl")) as client:
        assert client.get("report:1") is None

    # Terraform goes on beside it.
    page.follow("6.")
    together = {*lent["UserIds"], "reports-batch"}
    attentive.annotate("billing", plural=GROUPS, namespace="platform", note="look again")
    attentive.wait_until_ready("billing", plural=GROUPS, namespace="platform")
    assert set(group_in_aws(attentive, "billing")["UserIds"]) == together

    page.follow("7.")
    page.check_all_followed()
    attentive.wait_until_gone(USERS, "invoices")
    assert set(group_in_aws(attentive, "billing")["UserIds"]) == together - {ours(attentive, "invoices")}
    assert in_aws(attentive, ("shop", "invoices")) == []
    assert {"reports-batch", default} <= set(group_in_aws(attentive, "reports")["UserIds"])
    assert user_in_aws(attentive, "reports-etl")["AccessString"] == etl["AccessString"]
    assert attentive.secret("reports-etl") is None
