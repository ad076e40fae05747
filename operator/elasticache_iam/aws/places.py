"""AWS in every place: clients, credentials, pace and inventory of one place, made when it is first asked for.

A place's users, groups and caches are its own. Roles are the account's: all its places share one view of them, so that
a second region or service doesn't read them again.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

from boto3.session import Session

from elasticache_iam.api.config import AccountConfig
from elasticache_iam.api.group import Service
from elasticache_iam.aws.api import Api, ObserveApiCall
from elasticache_iam.aws.aws import BotoAws
from elasticache_iam.aws.bridge import Bridge
from elasticache_iam.aws.directory import Directory
from elasticache_iam.aws.elasticache import ElastiCache
from elasticache_iam.aws.iam import Iam
from elasticache_iam.aws.memorydb import MemoryDb
from elasticache_iam.aws.pod_identity import EksPodIdentity
from elasticache_iam.aws.rate import TokenBucket
from elasticache_iam.aws.session import Assumption, assumed_session
from elasticache_iam.aws.skew import Skew
from elasticache_iam.core.errors import InvalidSpecError
from elasticache_iam.core.installation import Installation
from elasticache_iam.core.names import partition_of
from elasticache_iam.core.state import Place
from elasticache_iam.ports import Aws, Clock, Fence, PodIdentity


class AwsPlaces:
    """Returns AWS in a place, for one event loop.

    Args:
        session: The operator's own credentials: good for its own account, and for becoming a role in another.
        installation: Who we are, and which other accounts the configuration lists.
        bridge: Its control lane carries the calls.
        fence: Asked before each attempt to write.
        clock: Its monotonic side tells the age of readings.
        observe_call: Told of each call.
        new_session: Makes a session for another account; its credentials are set here.
        service_per_s: Pace of a service's calls in one place, a share of AWS's unpublished rate; 0: no limit.
        iam_per_s: As above, for an account. IAM's rate is one for all regions.
    """

    def __init__(
        self,
        session: Session,
        *,
        installation: Installation,
        bridge: Bridge,
        fence: Fence,
        clock: Clock,
        observe_call: ObserveApiCall | None = None,
        new_session: Callable[[], Session] = Session,
        service_per_s: float = 10.0,
        iam_per_s: float = 15.0,
    ) -> None:
        self._installation = installation
        self._bridge = bridge
        self._fence = fence
        self._clock = clock
        self._observe_call = observe_call
        self._new_session = new_session
        self._service_per_s = service_per_s
        self._iam_per_s = iam_per_s
        self._skew = Skew(clock)
        self._home_session = session
        self._sessions: dict[str, Session] = {installation.account: session}
        self._iams: dict[tuple[str, str], Iam] = {}
        self._places: dict[Place, Aws] = {}

    def __call__(self, place: Place) -> Aws:
        """Return AWS in a place: the same one every time.

        Raises:
            InvalidSpecError: The operator's configuration doesn't list the account.
        """
        aws = self._places.get(place)
        if aws is None:
            aws = self._places[place] = BotoAws(self._make_directory(place), self._get_iam(place))
        return aws

    @property
    def ahead(self) -> timedelta | None:
        """Our clock minus AWS's, as the newest answer tells; None before the first."""
        return self._skew.ahead

    def pod_identity(self) -> PodIdentity | None:
        """Return the Pod Identity of the operator's own cluster; None where the configuration names no cluster."""
        cluster_name = self._installation.config.cluster_name
        if cluster_name is None:
            return None
        api = self._make_api(self._installation.home, {"eks": self._service_per_s})
        return EksPodIdentity(api, cluster_name=cluster_name, clock=self._clock)

    def _make_directory(self, place: Place) -> Directory:
        match place.service:
            case Service.ELASTICACHE:
                return ElastiCache(self._make_api(place, {"elasticache": self._service_per_s}), clock=self._clock)
            case Service.MEMORYDB:
                return MemoryDb(self._make_api(place, {"memorydb": self._service_per_s}), clock=self._clock)

    def _get_iam(self, place: Place) -> Iam:
        """Return the account's IAM. A partition has one of its own, in which an account number is somebody else's."""
        key = (place.account, partition_of(place.region))
        iam = self._iams.get(key)
        if iam is None:
            iam = self._iams[key] = Iam(
                self._make_api(place, {"iam": self._iam_per_s}),
                owner=self._installation.owner,
                region=place.region,
                account=place.account,
                clock=self._clock,
            )
        return iam

    def _make_api(self, place: Place, paces: Mapping[str, float]) -> Api:
        return Api(
            self._get_session(place.account),
            region=place.region,
            lane=self._bridge.control,
            fence=self._fence,
            paces={service: TokenBucket(per_s, burst=2 * per_s) for service, per_s in paces.items()},
            observe_call=self._observe_call,
            skew=self._skew,
        )

    def _get_session(self, account: str) -> Session:
        session = self._sessions.get(account)
        if session is None:
            session = self._sessions[account] = self._assume(self._account_config(account))
        return session

    def _assume(self, account: AccountConfig) -> Session:
        sts = Api(
            self._home_session,
            region=self._installation.region,
            lane=self._bridge.control,
            observe_call=self._observe_call,
        )
        assumption = Assumption(account.role_arn, f"elasticache-iam-{self._installation.owner}", account.external_id)
        return assumed_session(self._new_session(), assumption, sts=sts)

    def _account_config(self, account: str) -> AccountConfig:
        """Return what the configuration says of another account: nothing is done there with our own credentials."""
        entry = self._installation.account_config(account)
        if entry is None:
            raise InvalidSpecError(
                f"AWS account {account} isn't in the operator's configuration; leave spec.account out, or have the "
                "account added to `accounts`"
            )
        return entry
