"""The world behind real boto3 clients without a socket: for tests.

A botocore `before-send` hook answers each request after it was built and signed, and before it would go out. All but
the socket is real: serialising, signing, retries, paginators, error classes. About 0.4 ms a call.
"""

import threading
import time
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

from elasticache_iam_sandbox.wire.gateway import Gateway
from elasticache_iam_sandbox.wire.signature import HttpRequest
from elasticache_iam_sandbox.world.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.awsrequest import AWSPreparedRequest
    from botocore.config import Config


class InProcessAws:
    """A world that boto3 clients of this process talk to, from any thread.

    Args:
        world: What the calls act on.
        verify_signatures: False trusts the access key id, for tests of something else.
    """

    def __init__(self, world: World, *, verify_signatures: bool = True) -> None:
        self.world = world
        self.lock = threading.Lock()
        """Hold it to touch the world while clients may call from other threads."""
        self._gateway = Gateway(world, verify_signatures=verify_signatures)

    def hook(self, session: boto3.session.Session) -> None:
        """Answer all clients that will be made from the session, whoever makes them."""
        # boto3 types its emitter by the few methods that it documents.
        emitter: Any = session.events
        emitter.register("before-send", self._answer)

    def session(
        self, access_key_id: str, secret: str, region: str, session_token: str | None = None
    ) -> boto3.session.Session:
        """Return a session with these credentials whose clients are answered in process."""
        botocore_session: Any = botocore.session.get_session()
        botocore_session.register_component("data_loader", _model_loader())
        session = boto3.session.Session(
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret,
            aws_session_token=session_token,
            region_name=region,
            botocore_session=botocore_session,
        )
        self.hook(session)
        return session

    def client(
        self,
        service: str,
        access_key_id: str,
        secret: str,
        region: str,
        session_token: str | None = None,
        *,
        config: "Config | None" = None,
    ) -> Any:
        """Return one client."""
        clients: Any = self.session(access_key_id, secret, region, session_token)
        return clients.client(service, config=config)

    def _answer(self, request: "AWSPreparedRequest", **_: Any) -> AWSResponse:
        http_request = _http_request(request)
        with self.lock:
            latency_s = self._gateway.latency_s(http_request)
        if latency_s:
            time.sleep(latency_s)
        try:
            with self.lock:
                response = self._gateway.answer(http_request)
        except ConnectionError as error:
            raise ConnectionClosedError(endpoint_url=http_request.url) from error
        raw: Any = _Raw(response.body)
        return AWSResponse(http_request.url, response.status, _plain(response.headers), raw)


class _Raw(BytesIO):
    """A body, as urllib3 would hand it to botocore."""

    def stream(self) -> "Iterator[bytes]":
        """Yield the body."""
        yield self.read()


@cache
def _model_loader() -> Any:
    """Return a loader for all sessions: reading the API models anew costs each 0.2 s."""
    return botocore.session.get_session().get_component("data_loader")


def _plain(headers: "Mapping[str, str]") -> Any:
    return dict(headers)


def _http_request(request: "AWSPreparedRequest") -> HttpRequest:
    """Return what would have gone over the socket."""
    prepared: Any = request
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in prepared.headers.items()
    }
    body = prepared.body
    if hasattr(body, "read"):
        body = body.read()
    url = str(prepared.url)
    headers.setdefault("host", url.split("/")[2])
    return HttpRequest(str(prepared.method), url, headers, body.encode() if isinstance(body, str) else body or b"")
