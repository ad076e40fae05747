"""The composition root of `elasticache-iam import`: what AWS has, read with the caller's own rights."""

from dataclasses import dataclass

from boto3.session import Session

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.group import GroupAdoption, Service
from elasticache_iam.aws.api import Api
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.elasticache import ElastiCache
from elasticache_iam.aws.identity import get_account
from elasticache_iam.aws.memorydb import MemoryDb
from elasticache_iam.core.importing import Import, Wish, write_resources
from elasticache_iam.core.state import Inventory, Place
from elasticache_iam.runtime.clock import SystemClock
from elasticache_iam.runtime.installation import find_region
from elasticache_iam.runtime.resources import ReadOnly


@dataclass(frozen=True, slots=True)
class Request:
    """What to import.

    Attributes:
        config: The operator's; its region and account are home.
        service: Which service's groups.
        region: Where to look; None: the operator's, or that of the caller's AWS settings.
        adoption: Reference or Adopt.
        namespace: Of the UserGroups.
        user_namespace: Of the ElastiCacheIAMUsers.
        group_ids: Only these groups; empty: all.
    """

    config: OperatorConfig
    service: Service
    region: str | None
    adoption: GroupAdoption
    namespace: str
    user_namespace: str
    group_ids: frozenset[str]


async def make_import(request: Request, session: Session) -> Import:
    """Read AWS and return resources for what is there.

    Raises:
        ConfigurationError: Nobody says the region.
        OperatorError: AWS refuses, or doesn't answer.
    """
    region = find_region(request.region or request.config.region, session)
    bridge = Bridge()
    try:
        account = await get_account(session, region=region, bridge=bridge)
        place = Place(request.service, account, region)
        inventory = await _read(place, session, bridge)
    finally:
        bridge.close()
    home = request.config
    wish = Wish(
        home.owner,
        request.adoption,
        request.namespace,
        request.user_namespace,
        request.group_ids,
        region=region if home.region not in {None, region} else None,
        account=account if home.account not in {None, account} else None,
    )
    return write_resources(inventory, place, wish)


async def _read(place: Place, session: Session, bridge: Bridge) -> Inventory:
    """Return users, groups, caches and tags. Roles aren't looked at: who imports may lack rights in IAM."""
    api = Api(session, region=place.region, lane=bridge.control, fence=ReadOnly())
    clock = SystemClock()
    directory = MemoryDb(api, clock=clock) if place.service is Service.MEMORYDB else ElastiCache(api, clock=clock)
    await directory.refresh(max_age_s=0.0, slow_max_age_s=0.0)
    return directory.latest()
