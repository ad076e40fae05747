"""How the owner of an AWS object says yes: a tag, and the command that sets it."""

from elasticache_iam.api.group import Service
from elasticache_iam.api.keys import TAG_ALLOW
from elasticache_iam.core.names import place_of_arn


def consent_command(arn: str, consent: str) -> str:
    """Return the command that lets an installation's namespace use a user, group or cache.

    Args:
        arn: The object's.
        consent: The tag's value: `<owner>/<namespace>`.
    """
    place = place_of_arn(arn)
    if place is not None and place.service is Service.MEMORYDB:
        return f"aws memorydb tag-resource --resource-arn {arn} --tags Key={TAG_ALLOW},Value={consent}"
    return f"aws elasticache add-tags-to-resource --resource-name {arn} --tags Key={TAG_ALLOW},Value={consent}"
