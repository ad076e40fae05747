"""The command that an object's owner says yes with."""

import pytest

from elasticache_iam.core.consent import consent_command


@pytest.mark.parametrize(
    ("arn", "command"),
    [
        (
            "arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders",
            "aws elasticache add-tags-to-resource --resource-name",
        ),
        ("arn:aws:memorydb:eu-central-1:111122223333:cluster/orders", "aws memorydb tag-resource --resource-arn"),
    ],
    ids=["elasticache", "memorydb"],
)
def test_each_service_has_its_own_command(arn: str, command: str):
    assert consent_command(arn, "demo/platform") == (
        f"{command} {arn} --tags Key=elasticache-iam.dev/allow,Value=demo/platform"
    )
