"""What the pages say of the worst days, tried: a cluster that is lost, an operator that is stolen."""

import pytest
import redis
from tests.cluster.ground import GROUPS, USERS
from tests.cluster.pages import Page
from tests.waiting import wait_for

from elasticache_iam.core import names

pytestmark = pytest.mark.cluster

Redis = redis.exceptions


def lose(ground, plural, name, namespace):
    """Take a resource out of the cluster, as if it had never been there, while no operator looks."""
    ground.patch(plural, name, {"metadata": {"finalizers": None}}, namespace)
    ground.delete(plural, name, namespace)
    ground.wait_until_gone(plural, name, namespace)


def test_a_clusters_resources_applied_again_find_their_aws_objects_and_nobody_is_cut_off(orders):
    before = orders.aws_listing()
    client = orders.login(orders.secret())
    client.ping()
    orders.operator.stop()
    lose(orders, USERS, "checkout", "shop")
    lose(orders, GROUPS, "orders", "platform")
    wait_for(lambda: orders.secret() is None, what="the Secret to be collected as garbage")

    orders.apply_example("quickstart/usergroup.yaml")
    orders.start_operator()
    orders.wait_for_condition(GROUPS, "orders", "GroupSynced", namespace="platform", reason="MembersWithoutResource")
    orders.apply_example("quickstart/user.yaml")
    orders.wait_until_ready()

    assert client.ping()
    assert orders.aws_listing() == before
    with orders.login(orders.secret()) as again:
        assert again.ping()
    client.close()


def test_what_a_stolen_operator_holds_opens_nothing_any_more(orders):
    user, group = (
        names.default_id(orders.owner, orders.namespaces[namespace], name)
        for namespace, name in (("shop", "checkout"), ("platform", "orders"))
    )
    page = Page(orders, "security/stolen-operator.md", names={"GROUP": group, "USER": user})
    held = orders.secret()
    client = orders.login(held)
    client.ping()
    orders.operator.stop()
    page.skip("1.")

    page.follow("2.")
    with orders.login(held) as thief, pytest.raises(Redis.AuthenticationError):
        thief.ping()
    assert client.ping()
    page.follow("3.")
    with pytest.raises(Redis.ConnectionError):
        wait_for(lambda: not client.ping(), what="the connection to be cut")
    page.check_all_followed()

    orders.start_operator()
    orders.wait_for_condition(USERS, "checkout", "Verified", status="True")
    wait_for(lambda: logs_in(orders), what="the application to log in again")


def logs_in(ground):
    with ground.login(ground.secret()) as client:
        try:
            return client.ping()
        except Redis.AuthenticationError:
            return False
