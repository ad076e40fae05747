"""What commands say of a user that they can't get: each the same."""

import re
from types import SimpleNamespace

import pytest

from elasticache_iam.core.errors import AccessDeniedError, ConfigurationError, NotFoundError
from elasticache_iam.core.orders import Order
from elasticache_iam.runtime import orders, overview, personal
from elasticache_iam.runtime.installation import Said
from elasticache_iam.runtime.verifying import Inquiry, examine


class Cluster:
    """Has no user. It may not know the kind, or know nobody who asks."""

    def __init__(self, refuses):
        self._refuses = refuses

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def call(self, request):
        if request.verb in self._refuses:
            raise self._refuses[request.verb]
        return {"items": []}


async def suspend():
    await orders.run_errand(orders.Errand(Order.SUSPEND, "shop", ["jane"], timeout_s=0.0), print)


async def token():
    await personal.find_door("jane", namespace="shop", cache=None, kubeconfig=None, context=None)


async def status():
    await overview.watch(overview.Scope("shop"), print, interval_s=None)


async def verify(cluster):
    await examine(Inquiry("shop", "jane", Said({"owner": "demo"})), SimpleNamespace(), cluster)


@pytest.fixture
def ask(monkeypatch):
    """Returns what calls a command in a cluster."""

    async def call(command, cluster):
        async def connect(_kubeconfig, *, context):
            del context
            return cluster

        for module in (orders, personal, overview):
            monkeypatch.setattr(module, "open_connection", connect)
        await (command(cluster) if command is verify else command())

    return call


@pytest.mark.parametrize("command", [suspend, token, verify, status])
async def test_a_cluster_without_the_kind_is_told_to_lack_its_crds(ask, command):
    nothing = {"get": NotFoundError("404"), "list": NotFoundError("404")}

    with pytest.raises(ConfigurationError, match=r"CRDs aren't installed; run: elasticache-iam setup$"):
        await ask(command, Cluster(nothing))


@pytest.mark.parametrize("command", [suspend, token, verify])
@pytest.mark.parametrize(
    "refuses",
    [{"get": NotFoundError("404")}, {"get": NotFoundError("404"), "list": AccessDeniedError("403", code="Forbidden")}],
    ids=["seen", "may-not-list"],
)
async def test_a_user_that_is_not_there_is_told_with_where_to_look(ask, command, refuses):
    said = "there is no ElastiCacheIAMUser shop/jane; see: elasticache-iam status -A, another namespace: -n"

    with pytest.raises(ConfigurationError, match=f"^{re.escape(said)}$"):
        await ask(command, Cluster(refuses))


@pytest.mark.parametrize(("command", "role"), [(suspend, "edit"), (token, "view")])
async def test_who_lacks_a_right_is_told_which_role_has_it(ask, command, role):
    said = f"you may not get ElastiCacheIAMUser shop/jane: the role `{role}` there has that right"

    with pytest.raises(ConfigurationError, match=f"^{said}"):
        await ask(command, Cluster({"get": AccessDeniedError("403", code="Forbidden")}))


@pytest.mark.parametrize("command", [suspend, token, status])
async def test_who_is_nobody_to_the_cluster_is_told_so_and_not_of_rights(ask, command):
    unknown = AccessDeniedError("Unauthorized", code="Unauthorized")

    with pytest.raises(AccessDeniedError, match=r"^Unauthorized$"):
        await ask(command, Cluster({"get": unknown, "list": unknown}))
