"""What the operator's own credentials don't open, and what the API server doesn't take."""

import pytest
from tests.builders import user_manifest
from tests.cluster.ground import USERS

from elasticache_iam_sandbox.cluster.errors import ClusterError

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("path", ["/checkout", "", "?watch=true&timeoutSeconds=1"], ids=["get", "list", "watch"])
def test_the_operator_can_not_read_the_secret_it_wrote(shared_orders, path):
    secrets = f"/api/v1/namespaces/{shared_orders.namespaces['shop']}/secrets"

    status, text = shared_orders.installation.as_operator("GET", secrets + path)

    assert status == 403
    assert shared_orders.secret()["password"] not in text


def test_the_operators_aws_key_logs_in_nowhere(shared_orders):
    """Its policy has no Connect, and the roles it makes don't trust it."""
    ground = shared_orders
    sts = ground.sandbox.session(ground.operator_key).client("sts")
    role = ground.get(USERS, "checkout")["status"]["role"]["arn"]

    with pytest.raises(sts.exceptions.ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=role, RoleSessionName="stolen")


HOSTILE = {
    "an-id-that-is-an-address": {"id": "orders@evil.example"},
    "an-id-with-a-path": {"id": "orders/../admin"},
    "an-id-that-is-the-builtin-user": {"id": "default"},
    "a-password-in-the-access-string": {"access": {"accessString": "on ~* +@all >hunter2"}},
    "a-line-break-in-the-access-string": {"access": {"accessString": "on ~*\n+@all"}},
    "a-space-in-a-key": {"access": {"preset": "ReadWrite", "keys": ["orders:* +@all"]}},
    "a-foreign-service-account": {"serviceAccounts": ["kube-system/default"]},
    "a-label-that-is-ours": {
        "delivery": {"secret": {"labels": {"app.kubernetes.io/managed-by": "elasticache-iam-operator"}}}
    },
    "a-role-with-a-wildcard": {"role": {"mode": "Existing", "arn": "arn:aws:iam::111122223333:role/*"}},
    "two-groups": {"groups": [{"name": "orders"}, {"name": "billing"}]},
}


@pytest.mark.parametrize("spec", HOSTILE.values(), ids=HOSTILE)
def test_the_api_server_refuses(shared_orders, spec):
    with pytest.raises(ClusterError, match=r"invalid|Invalid|Forbidden"):
        shared_orders.apply(user_manifest("hostile", **spec))

    assert shared_orders.get(USERS, "hostile") is None


def test_the_api_server_refuses_a_name_with_dots(shared_orders):
    with pytest.raises(ClusterError, match="without dots"):
        shared_orders.apply(user_manifest("checkout.main"))
