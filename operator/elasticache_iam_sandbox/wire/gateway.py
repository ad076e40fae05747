"""One HTTP request in, one HTTP response out: what the socket and the in-process transport have in common."""

import logging
from dataclasses import replace
from email.utils import format_datetime

from elasticache_iam_sandbox.wire.codec import (
    HttpResponse,
    Target,
    identify,
    parse_parameters,
    render_error,
    render_result,
)
from elasticache_iam_sandbox.wire.signature import HttpRequest, missing_signature, verify_signature
from elasticache_iam_sandbox.world.call import AwsError, Call
from elasticache_iam_sandbox.world.world import World

_log = logging.getLogger(__name__)

_READS = ("Describe", "Get", "List", "Simulate")


class Gateway:
    """The world behind AWS's protocols. No more thread-safe than the world: whoever shares it holds a lock.

    Args:
        world: What the calls act on.
        default_region: Of requests that tell no region (unsigned ones to the sandbox's own address).
        verify_signatures: False trusts the access key id in the header, for tests of something else.
    """

    def __init__(self, world: World, *, default_region: str = "eu-central-1", verify_signatures: bool = True) -> None:
        self._world = world
        self._default_region = default_region
        self._verify_signatures = verify_signatures

    def latency_s(self, request: HttpRequest) -> float:
        """Return how long a fault holds this request; the carrier waits before it asks for the answer."""
        try:
            target = identify(request, default_region=self._default_region)
        except AwsError:
            return 0.0
        return self._world.fault_latency_s(target.service, target.operation)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Carry the request out. As of all HTTP servers the answer tells the time: AWS's.

        Raises:
            ConnectionError: A fault says that there is no answer at all.
        """
        response = self._answer(request)
        return replace(response, headers={**response.headers, "Date": format_datetime(self._world.now(), usegmt=True)})

    def _answer(self, request: HttpRequest) -> HttpResponse:
        target = None
        try:
            target = identify(request, default_region=self._default_region)
            return render_result(target, self._world.dispatch(self._call(request, target)))
        except AwsError as error:
            return render_error(target, error)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001  # whatever it was, one call failed, not the sandbox
            # A fault of the sandbox's own. The client must read a server's error, the log what happened.
            _log.exception("the sandbox failed at %s", f"{target.service}:{target.operation}" if target else "?")
            return render_error(target, AwsError("InternalFailure", "The sandbox failed; see its log.", 500))

    def changes_something(self, request: HttpRequest) -> bool:
        """Say whether the request may have changed what a cache's front shows: reads don't."""
        try:
            target = identify(request, default_region=self._default_region)
        except AwsError:
            return False
        return not target.operation.startswith(_READS)

    def _call(self, request: HttpRequest, target: Target) -> Call:
        return Call(
            service=target.service,
            operation=target.operation,
            parameters=parse_parameters(request, target),
            region=target.region,
            access_key_id=self._authenticate(request, target),
        )

    def _authenticate(self, request: HttpRequest, target: Target) -> str | None:
        if not target.needs_signature:
            return None
        authorization = target.authorization
        if authorization is None:
            raise missing_signature()
        if self._verify_signatures:
            identity = self._world.signing_identity(authorization.access_key_id)
            verify_signature(request, authorization, identity, now=self._world.now())
        return authorization.access_key_id
