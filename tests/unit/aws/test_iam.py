"""What writes that end together make of what is known of a role."""

import threading
from collections import Counter
from dataclasses import replace

import pytest

from elasticache_iam.aws import iam as module
from elasticache_iam.aws.iam import Iam
from elasticache_iam.core.names import role_path


class Clock:
    def monotonic(self):
        return 0.0


class OneRole:
    """IAM with one role; what writes do to it doesn't matter here, only how often it is read."""

    def __init__(self):
        self.calls = Counter()
        self.ends = []

    async def call(self, _service, operation, _parameters, *, on_end=None):
        self.calls[operation] += 1
        if on_end is not None:
            self.ends.append(on_end)
            on_end()
        return {"Role": ROLE, "PolicyNames": []}

    async def pages(self, service, operation, parameters):
        yield await self.call(service, operation, parameters)

    async def items(self, _service, operation, _field, _parameters):
        self.calls[operation] += 1
        for item in {"ListRoles": [ROLE], "GetAccountAuthorizationDetails": [ROLE]}.get(operation, []):
            yield item


ROLE = {
    "Path": role_path("demo"),
    "RoleName": "r",
    "RoleId": "AROAEXAMPLE",
    "Arn": f"arn:aws:iam::111122223333:role{role_path('demo')}r",
    "AssumeRolePolicyDocument": {},
    "MaxSessionDuration": 3600,
    "RolePolicyList": [],
    "AttachedManagedPolicies": [],
    "Tags": [],
}


@pytest.fixture
async def ground():
    api = OneRole()
    iam = Iam(api, owner="demo", region="eu-central-1", account="111122223333", clock=Clock())
    await iam.get_roles(max_age_s=60.0, slow_max_age_s=60.0)
    return api, iam


async def look(iam):
    return await iam.get_roles(max_age_s=60.0, slow_max_age_s=60.0)


async def test_after_a_write_the_role_is_not_read_again(ground):
    api, iam = ground

    await iam.set_trust("r", {"Statement": []})

    assert (await look(iam))["r"].trust == {"Statement": []}
    assert api.calls["GetRole"] == 0


async def test_a_write_that_ends_in_a_thread_while_another_is_noted_has_the_role_read(ground, monkeypatch):
    api, iam = ground
    await iam.set_boundary("r", "arn:aws:iam::111122223333:policy/b")
    (cancelled,) = api.ends
    threads = []

    def replace_meanwhile(role, **changes):
        threads.append(threading.Thread(target=cancelled))
        threads[0].start()
        threads[0].join(0.2)
        return replace(role, **changes)

    with monkeypatch.context() as patched:
        patched.setattr(module, "replace", replace_meanwhile)
        await iam.set_trust("r", {"Statement": []})
    threads[0].join()

    await look(iam)

    assert api.calls["GetRole"] == 1
