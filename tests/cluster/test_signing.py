"""Tokens that the operator signs by becoming roles itself, on a cluster without an OIDC provider."""

import pytest
import redis
from tests.cluster.ground import USERS
from tests.waiting import wait_for

from elasticache_iam.core import names

pytestmark = pytest.mark.cluster


@pytest.fixture
def without_provider(ground):
    """A ground whose account knows nothing of the cluster's issuer."""
    account = ground.account
    provider = names.oidc_provider_arn(account.region, account.account_id, ground.control_plane.issuer)
    ground.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)
    ground.add_cache()
    return ground


def test_without_an_oidc_provider_the_operator_signs_as_itself(without_provider):
    ground = without_provider
    ground.start_operator(signing="AssumeRole", tokenSeconds=20, oidcIssuer=None)
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")
    ground.wait_until_ready()
    first = ground.secret()

    with ground.login(first) as client:
        assert client.ping()
    wait_for(lambda: ground.secret()["password"] != first["password"], what="a new token")
    with ground.login(ground.secret()) as client:
        assert client.ping()
    assert ground.audit(resource="serviceaccounts", subresource="token") == []

    ground.delete(USERS, "checkout")
    ground.wait_until_gone(USERS, "checkout")
    with ground.login(first) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()


def test_with_the_tokens_of_service_accounts_the_missing_provider_is_named(without_provider):
    ground = without_provider
    ground.start_operator()
    ground.apply_example("quickstart/usergroup.yaml", "quickstart/user.yaml")

    found = ground.wait_for_condition(USERS, "checkout", "AccessGranted", reason="AudienceMissing")
    assert "aws iam create-open-id-connect-provider --url" in found["message"]
