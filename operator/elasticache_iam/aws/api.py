"""One call of an AWS API: paced, fenced, in a worker thread, its failure translated.

Parameters and answers are plain dictionaries in the API model's words; botocore checks them. Endpoint, CA bundle,
proxy and credentials come from botocore's own chain (AWS_ENDPOINT_URL, AWS_CA_BUNDLE, AWS_WEB_IDENTITY_TOKEN_FILE ...).
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, TypeAlias

import botocore
from boto3.session import Session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from elasticache_iam.aws.bridge import Lane
from elasticache_iam.aws.rate import TokenBucket
from elasticache_iam.aws.skew import Skew
from elasticache_iam.core.policy.operator import CALLS
from elasticache_iam.ports import Fence

CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 20
ATTEMPTS: Final = 3
"""Tries in all. botocore's own default mode is `legacy`; state errors are never retried by it."""

_READING: Final = ("Describe", "Get", "List", "Simulate")
_SECRET_PARAMETERS: Final = frozenset({"Passwords", "WebIdentityToken"})


@dataclass(frozen=True, slots=True)
class Cursor:
    """How an operation pages: the parameter that asks for the next page, and the field that tells it."""

    parameter: str
    field: str


MARKER: Final = Cursor("Marker", "Marker")
NEXT_TOKEN: Final = Cursor("NextToken", "NextToken")
PAGINATION_TOKEN: Final = Cursor("PaginationToken", "PaginationToken")

ObserveApiCall: TypeAlias = Callable[[str, str, str, float, str], None]
"""As `aws.bridge.ObserveCall`, and last the region: one that doesn't answer isn't another that does."""


class Api:
    """Calls in one region, through one lane.

    Args:
        session: Where credentials come from.
        region: The region of all calls.
        lane: Where they run.
        fence: Asked before each attempt to write, also before botocore's own second and third; None for a caller
            that never writes.
        paces: Permits by service, so that a rush of ours leaves something of the account's rate to others.
        observe_call: Told of each call.
        attempts: Tries in all by botocore itself, which sleeps in the worker between them.
        skew: Told each answer's time.
        unsigned: For calls that carry their own proof (AssumeRoleWithWebIdentity) and must not need credentials.
        calls: The calls that may be made, as service and operation: those that the operator has rights to.
    """

    def __init__(
        self,
        session: Session,
        *,
        region: str,
        lane: Lane,
        fence: Fence | None = None,
        paces: Mapping[str, TokenBucket] | None = None,
        observe_call: ObserveApiCall | None = None,
        attempts: int = ATTEMPTS,
        skew: Skew | None = None,
        unsigned: bool = False,
        calls: Collection[tuple[str, str]] = CALLS,
    ) -> None:
        # Whatever the environment says (AWS_STS_REGIONAL_ENDPOINTS=legacy): the global endpoint is another region's
        # outage, and its sessions aren't good in regions that have to be opted in to.
        session._session.set_config_variable("sts_regional_endpoints", "regional")  # noqa: SLF001  # boto3 has no door to it
        self._session = session
        self._region = region
        self._lane = lane
        self._fence = fence
        self._paces = paces or {}
        self._observe_call = observe_call
        self._attempts = attempts
        self._skew = skew
        self._unsigned = unsigned
        self._calls = calls
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()

    async def call(
        self,
        service: str,
        operation: str,
        parameters: Mapping[str, Any],
        *,
        on_end: Callable[[], None] | None = None,
    ) -> Mapping[str, Any]:
        """Carry out one call and return its answer.

        The pace is waited for here and not in the worker, where it would hold up other services.

        Args:
            service: botocore's name of it: elasticache.
            operation: As in the API model: CreateUser.
            parameters: As boto3 takes them.
            on_end: Called in the worker when the call is over, well or badly, even if nobody waits for it any more.

        Raises:
            OperatorError: Whatever went wrong.
            LookupError: A call that the table doesn't have, so no policy covers it: a bug.
        """
        if (pace := self._paces.get(service)) is not None:
            await asyncio.sleep(pace.reserve(asyncio.get_running_loop().time()))
        return await self._lane.run(
            self._bind(service, operation, parameters, on_end),
            service=service,
            operation=operation,
            observe=self._observe,
        )

    def _observe(self, service: str, operation: str, code: str, duration_s: float) -> None:
        if self._observe_call is not None:
            self._observe_call(service, operation, code, duration_s, self._region)

    async def pages(
        self, service: str, operation: str, parameters: Mapping[str, Any], *, cursor: Cursor = MARKER
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield all pages of a list, each a call of its own. Raises core.errors."""
        position = ""
        while True:
            asked = {**parameters, cursor.parameter: position} if position else parameters
            page = await self.call(service, operation, asked)
            yield page
            position = str(page.get(cursor.field) or "")
            if not position:
                return

    async def items(
        self,
        service: str,
        operation: str,
        field: str,
        parameters: Mapping[str, Any],
        *,
        cursor: Cursor = MARKER,
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield what a list's pages hold in one field. Raises core.errors."""
        async for page in self.pages(service, operation, parameters, cursor=cursor):
            for item in page.get(field, ()):
                yield item

    def _bind(
        self, service: str, operation: str, parameters: Mapping[str, Any], on_end: Callable[[], None] | None
    ) -> Callable[[], Mapping[str, Any]]:
        self._look_up(service, operation)

        def carry_out() -> Mapping[str, Any]:
            try:
                return self.call_here(service, operation, parameters)
            finally:
                if on_end is not None:
                    on_end()

        return carry_out

    def call_here(self, service: str, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out one call in this thread, a worker's. Raises botocore's exceptions."""
        self._look_up(service, operation)
        method = getattr(self._client(service), xform_name(operation))
        try:
            answer: Mapping[str, Any] = method(**parameters)
        except ClientError as error:
            if (untold := _mask(error, _secrets_of(parameters))) is not None:
                raise untold from None
            raise
        return answer

    def _look_up(self, service: str, operation: str) -> None:
        """Raise LookupError for a call without a right."""
        if (service, operation) not in self._calls:
            raise LookupError(f"{service} {operation} is not in the table of calls, so there is no right to it")

    def _client(self, service: str) -> Any:
        """Return a client, made at its first use: that takes tens of milliseconds and isn't thread-safe."""
        with self._making:
            client = self._clients.get(service)
            if client is None:
                client = self._make_client(service)
                self._clients[service] = client
            return client

    def _make_client(self, service: str) -> Any:
        config = Config(
            region_name=self._region,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": self._attempts},
            user_agent_extra=f"elasticache-iam-operator/{version('elasticache-iam-operator')}",
            **({"signature_version": botocore.UNSIGNED} if self._unsigned else {}),
        )
        make: Any = self._session.client  # the service is a variable here, boto3's types want a literal
        client = make(service, config=config)
        if self._fence is not None:
            client.meta.events.register("request-created", self._check_fence)
        if self._skew is not None:
            client.meta.events.register("after-call", self._skew.note_answer)
        return client

    def _check_fence(self, event_name: str, **_: Any) -> None:
        """Refuse to write without leadership. botocore emits the event once per attempt, before it signs or sends."""
        operation = event_name.rpartition(".")[2]
        if self._fence is not None and not operation.startswith(_READING):
            self._fence.check()


def _secrets_of(parameters: Any, *, is_secret: bool = False) -> Iterator[str]:
    """Yield the secrets that were sent: AWS's validation quotes what it refuses."""
    if isinstance(parameters, Mapping):
        for name, value in parameters.items():
            yield from _secrets_of(value, is_secret=is_secret or name in _SECRET_PARAMETERS)
    elif isinstance(parameters, list | tuple):
        for value in parameters:
            yield from _secrets_of(value, is_secret=is_secret)
    elif is_secret and parameters:
        yield str(parameters)


def _mask(error: ClientError, secrets: Iterable[str]) -> ClientError | None:
    """Return an answer that quotes a secret without it; None if it quotes none."""
    answer = error.response["Error"]
    told = masked = answer.get("Message", "")
    for secret in secrets:
        masked = masked.replace(secret, "[…]")
    if masked == told:
        return None
    response: Any = {**error.response, "Error": {**answer, "Message": masked}}
    return type(error)(response, error.operation_name)
