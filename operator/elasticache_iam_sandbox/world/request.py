"""One call on its way: what an operation's code gets, and how operations are declared."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from joserfc.jwk import KeySet

from elasticache_iam_sandbox.world.accounts import AccessKey, Account
from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.catalogue import Catalogue, page_of
from elasticache_iam_sandbox.world.conditions import Context
from elasticache_iam_sandbox.world.elasticache import Region
from elasticache_iam_sandbox.world.memorydb import MemoryDb
from elasticache_iam_sandbox.world.settings import WorldSettings
from elasticache_iam_sandbox.world.transitions import Transitions
from elasticache_iam_sandbox.world.views import Views

T = TypeVar("T")
Output = dict[str, Any]
_TAG_KEY_LENGTH = 128
_TAG_VALUE_LENGTH = 256


@dataclass(slots=True)
class State:
    """Everything the world holds."""

    settings: WorldSettings
    get_jwks: Callable[[str], Mapping[str, Any]]
    accounts: dict[str, Account] = field(default_factory=dict)
    access_keys: dict[str, AccessKey] = field(default_factory=dict)
    transitions: Transitions = field(default_factory=Transitions)
    key_sets: dict[str, tuple[Mapping[str, Any], KeySet]] = field(default_factory=dict)
    """Issuers' keys, parsed, beside the document they were parsed from."""
    session_ends: list[tuple[datetime, str]] = field(default_factory=list)
    """A heap of expiry times and access key ids, so that dead sessions are forgotten."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call with everything an operation needs to carry it out."""

    state: State
    now: datetime
    parameters: Mapping[str, Any]
    region_name: str
    caller: AccessKey | None
    """None for unsigned calls."""

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a parameter, or the default if it was not given."""
        value = self.parameters.get(name)
        return default if value is None else value

    @property
    def account(self) -> Account:
        """Return the caller's account."""
        if self.caller is None:
            raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        return self.caller.account

    @property
    def region(self) -> Region:
        """Return ElastiCache in the caller's account and the call's region."""
        return self.account.region(self.region_name)

    @property
    def memorydb(self) -> MemoryDb:
        """Return MemoryDB in the caller's account and the call's region."""
        return self.account.memorydb(self.region_name)

    @property
    def visible_at(self) -> datetime:
        """Return when an IAM write of now takes effect for STS, Connect and authorization."""
        return self.now + timedelta(seconds=self.state.settings.iam_propagation_s)

    @property
    def tags(self) -> dict[str, str]:
        """Return the Tags parameter as a dict."""
        return {tag["Key"]: tag.get("Value", "") for tag in self.get("Tags", [])}

    def later(self, change: Callable[[], None], views: Views | None = None) -> None:
        """Have ElastiCache, or the service that `views` are of, carry out a change when the transition is over."""
        touched = views or self.region.views
        touched.touch()

        def carry_out() -> None:
            change()
            touched.touch()

        self.state.transitions.put(self.now + timedelta(seconds=self.state.settings.transition_s), carry_out)


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission that a call needs."""

    action: str
    resource: str
    """The ARN, or "*" for actions that know no resources."""
    context: Context = field(default_factory=dict)
    shown_as: str = ""
    """How AWS prints the resource in AccessDenied, when not as its ARN."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An API operation. A parameter that is not named here is refused, never ignored."""

    service: str
    name: str
    act: Callable[[Request], Output]
    grants: Callable[[Request], Iterable[Grant]]
    required: frozenset[str]
    parameters: frozenset[str]


def operation(
    service: str,
    name: str,
    act: Callable[[Request], Output],
    grants: Callable[[Request], Iterable[Grant]],
    *,
    required: str = "",
    optional: str = "",
) -> Operation:
    """Declare an operation; parameters are names separated by spaces."""
    needed = frozenset(required.split())
    return Operation(service, name, act, grants, needed, needed | frozenset(optional.split()))


def no_grants(_: Request) -> Iterable[Grant]:
    """Return nothing: the call is open to everybody, or decides by itself."""
    return ()


def request_tags_context(tags: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the condition keys of the tags in a request."""
    if not tags:
        return {}
    context: dict[str, tuple[str, ...]] = {f"aws:requesttag/{key.lower()}": (value,) for key, value in tags.items()}
    context["aws:tagkeys"] = tuple(tags)
    return context


def resource_tags_context(tags: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the condition keys of the tags on a resource."""
    return {f"aws:resourcetag/{key.lower()}": (value,) for key, value in tags.items()}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as AWS lists them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def check_tags(request: Request, old: Mapping[str, str], *, over_quota: AwsError, invalid: str) -> None:
    """Raise if a resource may not have the request's tags, too: `over_quota`, or an error with the code `invalid`."""
    new = request.tags
    for key, value in new.items():
        if not 0 < len(key) <= _TAG_KEY_LENGTH or len(value) > _TAG_VALUE_LENGTH or key.lower().startswith("aws:"):
            raise AwsError(invalid, f"Tag key {key} or its value is invalid or reserved.")
    if len({**old, **new}) > request.state.settings.tags_per_resource:
        raise over_quota


def page(
    items: Catalogue[T], marker: str | None, size: int, *, invalid: str = "InvalidParameterValue"
) -> tuple[list[T], str | None]:
    """Return a page of a catalogue; a foreign marker raises an error with the code `invalid`."""
    try:
        return items.page(marker, size)
    except ValueError as error:
        raise AwsError(invalid, "Invalid marker.") from error


def page_keys(keys: list[str], marker: str | None, size: int, *, invalid: str) -> tuple[list[str], str | None]:
    """Return a page of sorted keys; a foreign marker raises an error with the code `invalid`."""
    try:
        found, next_marker = page_of(keys, marker, size)
    except ValueError as error:
        raise AwsError(invalid, "Invalid marker.") from error
    return list(found), next_marker
