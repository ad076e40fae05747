"""Caches in another AWS account, as the page on them has it set up."""

import pytest
from tests.cluster.ground import GROUPS, USERS
from tests.cluster.pages import Page

from elasticache_iam.core import names
from elasticache_iam.core.policy import operator_policy

pytestmark = pytest.mark.cluster


@pytest.fixture
def elsewhere(sandbox):
    """Another account, which doesn't know the cluster yet."""
    account = sandbox.add_account()
    iam = sandbox.admin_session(account).client("iam")
    for provider in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
    return account


def travelling_operator(ground, account_id):
    """Return the environment of an operator that may become the page's role in another account."""
    home = ground.account
    policy = operator_policy(
        owner=ground.owner,
        partition="aws",
        account=home.account_id,
        region=home.region,
        roles_elsewhere=(f"arn:aws:iam::{account_id}:role/elasticache-iam-operator",),
    )
    key = ground.sandbox.add_access_key("travelling", account_id=home.account_id, policy=policy)
    credentials = ground.sandbox.env(key)
    del credentials["KUBECONFIG"]  # it is the administrator's
    return ground.environment(**credentials)


def test_a_cache_in_another_account(ground, sandbox, elsewhere):
    there = sandbox.admin_session(elsewhere)
    environment = travelling_operator(ground, elsewhere.account_id)
    page = Page(
        ground,
        "multi-account.md",
        names={"444455556666": elsewhere.account_id, "111122223333": ground.account.account_id},
        environment={"OPERATOR": f"arn:aws:iam::{ground.account.account_id}:user/travelling"},
    )
    sandbox.add_cache("search-prod", account_id=elsewhere.account_id, engine="valkey")

    for section in ("1.", "2.", "3."):
        page.follow(section, key=elsewhere.admin)
    ground.start_operator(environment=environment, **page.settings("4."))
    page.follow("5.")
    page.check_all_followed()

    user_id = names.default_id(ground.owner, ground.namespaces["shop"], "indexer")
    with ground.login(ground.secret("indexer")) as client:
        assert client.acl_whoami() == user_id
    assert user_id in {user["UserId"] for user in there.client("elasticache").describe_users()["Users"]}
    assert user_id in {role["RoleName"] for role in there.client("iam").list_roles()["Roles"]}
    assert ground.aws_listing() == set()

    # Who isn't listed doesn't get there, and what was made there is found again to be deleted.
    stranger = ground.get(GROUPS, "search", "platform")
    ground.apply({**stranger, "metadata": {"name": "stranger", "namespace": ground.namespaces["web"]}, "status": {}})
    ground.wait_for_condition(GROUPS, "stranger", "GroupSynced", namespace="web", reason="AccountNotAllowed")
    ground.delete(USERS, "indexer")
    ground.wait_until_gone(USERS, "indexer")
    assert user_id not in {user["UserId"] for user in there.client("elasticache").describe_users()["Users"]}
    assert user_id not in {role["RoleName"] for role in there.client("iam").list_roles()["Roles"]}
