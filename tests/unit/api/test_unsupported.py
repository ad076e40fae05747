import pytest
from tests.contract.manifests import ROLE_ARN, manifest

from elasticache_iam.api.parse import parse_group, parse_user
from elasticache_iam.api.unsupported import unsupported_fields

SELF_SIGNING = {"spec.delivery": {"mode": "None"}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spec.suspend": True, "spec.deletionPolicy": "Retain"},
        {"spec.access": {"accessString": "on ~* +@read"}},
        {"spec.delivery": {"secret": {"name": "a", "template": {"URL": "{{ uri }}"}}}},
        {"spec.delivery": {"configMap": {"name": "a", "template": {"HOST": "{{ host }}"}}}},
        {"spec.role": {"mode": "Existing", "arn": ROLE_ARN}},
        {"spec.role": {"mode": "External", "arn": ROLE_ARN}},
        {**SELF_SIGNING, "spec.role": {"mode": "None"}, "spec.serviceAccounts": []},
        {**SELF_SIGNING, "spec.annotateServiceAccounts": True},
        {"spec.adoption": "Adopt", "spec.id": "a"},
    ],
)
def test_todays_users_are_supported(changes):
    assert unsupported_fields(parse_user(manifest("user", changes)).spec) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spec.engine": "redis", "spec.defaultUser": "Unmanaged", "spec.members": ["batch"]},
        {"spec.deletionPolicy": "Delete", "spec.attachment": {"policy": "Attach"}},
        {"spec.admission.0.namespaces": {"selector": {}}},
        {"spec.adoption": "Adopt", "spec.id": "a", "spec.membership": "Authoritative"},
        {"spec.adoption": "Reference", "spec.id": "a"},
        {"spec.caches": [{"serverlessCache": "a"}]},
        {"spec.service": "MemoryDB", "spec.caches": [{"memoryDBCluster": "a"}]},
    ],
)
def test_todays_groups_are_supported(changes):
    assert unsupported_fields(parse_group(manifest("group", changes)).spec) == ()


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({**SELF_SIGNING, "spec.role": {"binding": "PodIdentity"}}, ["spec.role.binding"]),
    ],
)
def test_each_field_of_a_user_that_comes_later_is_named(changes, fields):
    lines = unsupported_fields(parse_user(manifest("user", changes)).spec)

    assert [line.split(":")[0] for line in lines] == fields
