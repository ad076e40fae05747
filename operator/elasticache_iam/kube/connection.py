"""One event loop's way to the API server: configuration, TLS, limits, errors. Bodies are plain JSON documents.

The official client brings configuration (kubeconfig, the Pod's ServiceAccount with its rotating token) and the HTTP
session. Its typed APIs stay unused: their models cost 80 to 120 MB and most of the throughput.
"""

import asyncio
import contextlib
import json
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from elasticache_iam.core.errors import ConfigurationError, NotLeaderError, OperatorError, UnavailableError
from elasticache_iam.kube.errors import ApiStatus, parse_status, to_error
from elasticache_iam.kube.service_account import own_namespace
from elasticache_iam.ports import Document, Fence

CONNECT_TIMEOUT_S: Final = 5.0
TOTAL_TIMEOUT_S: Final = 20.0
MAX_IN_FLIGHT: Final = 32
"""More in flight don't make an API server quicker, they only make its priority-and-fairness queue us."""

MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"  # the body is JSON, which is YAML

_JSON: Final = "application/json"
_METADATA_ONLY: Final = f"{_JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{_JSON}"
# Of many objects there is no second choice: rather nothing than all that they hold.
_METADATA_OF_MANY: Final[Mapping[str, str]] = {
    "list": f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    "watch": f"{_JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
}
_METHODS: Final[Mapping[str, str]] = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}

_RENEW_AHEAD: Final = timedelta(seconds=10)
"""A plugin hands out a credential that it keeps until shortly before its end, so that more would run it in vain."""
_UNREADABLE: Final = (kube_config.ConfigException, OSError, ValueError)
_NO_KUBECONFIG: Final = (yaml.YAMLError, TypeError, KeyError, AttributeError)
"""How the client's reading of a file ends that is no kubeconfig; their texts are of no use to anybody."""

RequestObserver = Callable[[str, str, str], None]
"""Told each request's verb, resource (`secrets`, `usergroups/status`) and outcome.

That is the HTTP status, `error` without an answer, or `fenced` for what wasn't sent because this process doesn't lead.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One call.

    Attributes:
        verb: RBAC's word: get, list, watch, create, update, patch, delete.
        api: `/api/v1` or `/apis/<group>/<version>`.
        resource: The plural.
        namespace: "" for a cluster-scoped resource, or for all namespaces.
        name: "" for the collection.
        subresource: `status`, `token`.
        query: Query parameters.
        body: A JSON document; for a JSON patch a list.
        content_type: Of the body.
        metadata_only: Ask for no more than the object's metadata: a Secret's data doesn't travel back.
        confidential: Whether an error may tell names only.
    """

    verb: str
    api: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] | None = None
    body: Document | Sequence[Document] | None = None
    content_type: str = _JSON
    metadata_only: bool = False
    confidential: bool = False

    @property
    def path(self) -> str:
        """The URL's path and query."""
        parts = [self.api]
        if self.namespace:
            parts += ["namespaces", quote(self.namespace, safe="")]
        parts.append(self.resource)
        if self.name:
            parts.append(quote(self.name, safe=""))
        if self.subresource:
            parts.append(self.subresource)
        path = "/".join(parts)
        return f"{path}?{urlencode(self.query)}" if self.query else path

    @property
    def kind(self) -> str:
        """The resource with its subresource, as RBAC writes it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def words(self) -> str:
        """The request for people: `patch secrets shop/checkout`."""
        return " ".join(filter(None, (self.verb, self.kind, "/".join(filter(None, (self.namespace, self.name))))))


ErrorTranslator = Callable[[ApiStatus], OperatorError | None]
"""What a refusal means to one caller; None: what it means to everybody."""


class Connection:
    """A bounded pool of connections to the API server. It belongs to the event loop that it is first used on."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        on_request: RequestObserver | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
    ) -> None:
        configuration.connection_pool_maxsize = max_in_flight
        configuration.retries = None  # retrying is the planes' business
        # Python 3.13 refuses CA certificates without key identifiers, as older EKS clusters have them. The chain and
        # the host name stay verified.
        configuration.disable_strict_ssl_verification = True
        self._client = ApiClient(configuration)
        self._configuration = configuration
        self._on_request = on_request
        self._slots = asyncio.Semaphore(max_in_flight)
        self._total_timeout_s = total_timeout_s
        self._timeout = aiohttp.ClientTimeout(total=total_timeout_s, connect=connect_timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def call(
        self, request: Request, *, fence: Fence | None = None, translate: ErrorTranslator | None = None
    ) -> dict[str, Any]:
        """Send a request and return the answer's document.

        Args:
            request: What to send.
            fence: Asked at the last moment, once the request has its place in the pool: it may have waited there.
            translate: The caller's own reading of a refusal.

        Raises:
            OperatorError: The server refuses, doesn't answer in time or not in JSON, or this process may not write any
                more.
        """
        body = await self._exchange(request, fence, translate)
        document: Any = None
        with contextlib.suppress(ValueError):  # its error would hold the whole answer
            document = json.loads(body)
        if not isinstance(document, dict):
            raise UnavailableError(
                f"{request.words}: what {self._where} answers is no JSON object: a proxy's page, or the API server's "
                "answer cut short; look at: kubectl cluster-info",
                code="NotJSON",
            )
        return document

    async def send(
        self, request: Request, *, fence: Fence | None = None, translate: ErrorTranslator | None = None
    ) -> None:
        """As `call`, for those who don't need the answer: it is read off the wire and not looked at."""
        await self._exchange(request, fence, translate)

    async def watch(self, request: Request, *, silence_s: float) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it. It takes no place from other requests' limit.

        Args:
            request: The watch, with its query.
            silence_s: Without a byte for so long the connection counts as dead.

        Raises:
            OperatorError: The server refuses, or the connection breaks.
        """
        limits = aiohttp.ClientTimeout(connect=self._timeout.connect, sock_read=silence_s)
        outcome = "error"
        try:
            async with contextlib.aclosing(self._stream(request, limits)) as lines:
                async for line in lines:
                    outcome = "200"
                    event: dict[str, Any] = json.loads(line)
                    yield event
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, kube_config.ConfigException) as error:
            raise UnavailableError(
                f"{request.words}: the watch broke off: {type(error).__name__}", code=type(error).__name__
            ) from None
        finally:
            if self._on_request is not None:
                self._on_request(request.verb, request.kind, outcome)

    async def _stream(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an answer, however long they are."""
        answer = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
            _METHODS[request.verb],
            f"{self._configuration.host}{request.path}",
            headers=await self._headers(request),
            _request_timeout=limits,
        )
        response: aiohttp.ClientResponse = answer.response
        async with response:
            if response.status >= 400:  # noqa: PLR2004
                refusal = parse_status(
                    response.status, await response.read(), retry_after=response.headers.get("Retry-After")
                )
                raise to_error(refusal, what=request.words, confidential=request.confidential)
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line

    async def _headers(self, request: Request) -> dict[str, str]:
        headers = {"Accept": _JSON, "Content-Type": request.content_type}
        if request.metadata_only:
            headers["Accept"] = _METADATA_OF_MANY.get(request.verb, _METADATA_ONLY)
        # Re-reads the Pod's token from its file once a minute.
        if authorization := await self._configuration.get_api_key_with_prefix("BearerToken", "authorization"):
            headers["Authorization"] = authorization
        return headers

    @property
    def _where(self) -> str:
        """The API server's host and port, without what else its address may hold."""
        return urlsplit(self._configuration.host).netloc.rpartition("@")[2]

    async def _exchange(self, request: Request, fence: Fence | None, translate: ErrorTranslator | None) -> bytes:
        async with self._slots:
            status, body, retry_after = await self._send(request, fence)
        if status < 400:  # noqa: PLR2004
            return body
        refusal = parse_status(status, body, retry_after=retry_after)
        error = translate(refusal) if translate is not None else None
        raise error or to_error(refusal, what=request.words, confidential=request.confidential)

    async def _send(self, request: Request, fence: Fence | None) -> tuple[int, bytes, str | None]:
        outcome = "error"
        try:
            headers = await self._headers(request)
            timeout = self._timeout if fence is None else self._fenced_timeout(fence)
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                _METHODS[request.verb],
                f"{self._configuration.host}{request.path}",
                headers=headers,
                body=request.body,
                _request_timeout=timeout,
            )
            body = await response.read()
            outcome = str(response.status)
        except NotLeaderError:
            outcome = "fenced"
            raise
        except (aiohttp.ClientError, OSError, TimeoutError, kube_config.ConfigException) as error:
            raise UnavailableError(
                f"{request.words}: the API server doesn't answer: {type(error).__name__} at {self._where}; "
                "look at: kubectl cluster-info",
                code=type(error).__name__,
            ) from None  # aiohttp's errors carry the request's headers, the bearer token among them
        finally:
            if self._on_request is not None:
                self._on_request(request.verb, request.kind, outcome)
        return response.status, body, response.headers.get("Retry-After")

    def _fenced_timeout(self, fence: Fence) -> aiohttp.ClientTimeout:
        """Return how long a write may take that begins now: not beyond the Lease, when another process may write.

        Raises NotLeaderError.
        """
        fence.check()
        left_s = fence.left_s()
        if left_s <= 0:  # another thread has shut the fence since; to aiohttp 0 is no limit at all
            raise NotLeaderError("this replica isn't the leader any more")
        return aiohttp.ClientTimeout(
            total=min(self._total_timeout_s, left_s),
            connect=self._timeout.connect,
            ceil_threshold=math.inf,  # else it rounds up to whole seconds of the loop's clock
        )


async def load_configuration(
    kubeconfig: str | None = None, environment: Mapping[str, str] = os.environ, *, context: str | None = None
) -> Configuration:
    """Return how to reach the API server.

    In this order: a kubeconfig given or in KUBECONFIG, the Pod's ServiceAccount, ~/.kube/config. A context is one of a
    kubeconfig's; None: its current one. A credential plugin runs now, and again when what it gave ends.

    Raises:
        ConfigurationError: There is none, or it can't be read.
    """
    configuration = Configuration()
    files = _find_files(kubeconfig, environment)
    try:
        if files is None:
            kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return configuration
        merged, current = _read_files(files)
        await _Credentials(merged, context or current).load(configuration)
    except _UNREADABLE as error:
        if context is not None and "/contexts list" in str(error):
            raise ConfigurationError(
                f"there is no context {context} in {files}; see: kubectl config get-contexts"
            ) from error
        raise ConfigurationError(f"can't read the Kubernetes configuration: {error}") from error
    except _NO_KUBECONFIG as error:
        raise ConfigurationError(f"can't read the Kubernetes configuration: {files} is not a kubeconfig") from error
    return configuration


def find_namespace(
    kubeconfig: str | None = None, environment: Mapping[str, str] = os.environ, *, context: str | None = None
) -> str:
    """Return the namespace that kubectl would mean if none is named: the context's, or the Pod's, or `default`.

    It is looked for where `load_configuration` looks, which tells better what is wrong with what can't be read.
    """
    try:
        files = _find_files(kubeconfig, environment)
        if files is None:
            return own_namespace() or "default"
        merged, current = _read_files(files)
        found = merged["contexts"].get_with_name(context or current)["context"].safe_get("namespace")
    except (ConfigurationError, *_UNREADABLE, *_NO_KUBECONFIG):
        return "default"
    return str(found or "default")


def _find_files(kubeconfig: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the kubeconfig's files that are there, separated as in KUBECONFIG; None: the Pod's ServiceAccount.

    Raises ConfigurationError: there is neither.
    """
    if named := kubeconfig or environment.get("KUBECONFIG"):
        # Of those that aren't there the client would print that they aren't.
        there = [path for path in named.split(os.pathsep) if path and Path(path).expanduser().exists()]
        if not there:
            raise ConfigurationError(f"can't read the Kubernetes configuration: there is no file {named}")
        return os.pathsep.join(there)
    if "KUBERNETES_SERVICE_HOST" in environment:
        return None
    default_file = Path.home() / ".kube" / "config"
    if not default_file.exists():
        raise ConfigurationError("no Kubernetes cluster: set KUBECONFIG, or run in a Pod with a ServiceAccount")
    return str(default_file)


def _read_files(files: str) -> tuple[Any, str | None]:
    """Return what the files hold together, and the current context: as for kubectl, the first file that names one.

    To the client the last one counts.
    """
    merger = KubeConfigMerger(files)  # type: ignore[no-untyped-call]
    named = (document.get("current-context") for document in merger.config_files.values())
    return merger.config, next(filter(None, named), None)


class _Credentials:
    """Those of a kubeconfig's context, loaded again when they end, if a plugin has said when that is."""

    def __init__(self, merged: Any, context: str | None) -> None:
        self._merged = merged
        self._context = context
        self._ends_at: datetime | None = None
        self._lock = asyncio.Lock()

    async def load(self, configuration: Configuration) -> None:
        """Put them into a configuration, with all else that the context says."""
        loader = KubeConfigLoader(self._merged, self._context, config_base_path=None)  # type: ignore[no-untyped-call]
        await loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        if (ends_at := getattr(loader, "exec_plugin_expiry", None)) is not None:  # else a renewal is tried again
            self._ends_at = ends_at
            configuration.refresh_api_key_hook = self._renew  # type: ignore[assignment]

    async def _renew(self, configuration: Configuration) -> None:
        async with self._lock:  # many requests go out at once
            if self._ends_at is not None and datetime.now(UTC) >= self._ends_at - _RENEW_AHEAD:
                await self.load(configuration)


async def open_connection(
    kubeconfig: str | None = None,
    *,
    context: str | None = None,
    on_request: RequestObserver | None = None,
) -> Connection:
    """Return a connection for the running event loop. Raises ConfigurationError."""
    return Connection(await load_configuration(kubeconfig, context=context), on_request=on_request)
