"""The kopf edge: watches, and nothing else. Its handlers put what they see where the planes find it, and return.

kopf's own create/update/delete handlers, Events and state stay unused: they miss copied resources and cost two to three
writes a retry (docs/adr/0001-kopf-at-the-edge.md).
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf
import structlog

from elasticache_iam.api.base import is_asked
from elasticache_iam.api.keys import ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY, GROUP, VERSION
from elasticache_iam.api.parse import InvalidResourceError, parse_user, salvage_user
from elasticache_iam.core.errors import OperatorError
from elasticache_iam.core.mint import MintOrder, mint_order
from elasticache_iam.core.status import READY
from elasticache_iam.kube.connection import load_configuration
from elasticache_iam.reconcile.plane import Plane
from elasticache_iam.reconcile.queue import GROUPS, USERS, Key
from elasticache_iam.reconcile.store import Body
from elasticache_iam.runtime.config import token_claims

log = structlog.get_logger("watch")

TOKEN_MARGIN: Final = timedelta(seconds=60)
DELETED: Final = "DELETED"


class Edge:
    """Takes what the watches bring to the store, the queue and the token plane. It belongs to the main loop."""

    def __init__(self, plane: Plane, mint: Callable[[tuple[str, str], MintOrder | None], None]) -> None:
        self._plane = plane
        self._mint = mint
        self._before_hold: dict[Key, str] = {}
        """Of users on hold spec and generation from before, as JSON, if we have seen that."""

    def see(self, plural: str, kind: str | None, body: Body) -> None:
        """Take one watch event: ADDED, MODIFIED, DELETED, or None while listing."""
        plane = self._plane
        key = Key(plural, body["metadata"]["namespace"], body["metadata"]["name"])
        if kind == DELETED:
            plane.guard.note_deleted(key)
            self.forget(key)
            return
        if plane.store.is_known(key, body):
            return  # listed anew
        before, groups = plane.store.body(key), plane.store.group_keys_of(key)
        plane.store.observe(key, body)
        for group in set(groups) - set(plane.store.group_keys_of(key)):
            plane.queue.wake(group)  # the user has left it
        # Not for a new status: it is our own, and a message that differs each time would have us run in circles.
        is_news = before is None or _asked(before) != _asked(body)
        if is_news:
            plane.queue.wake(key, is_urgent=before is not None)
        if plural == USERS:
            self._note_hold(key, before, body)
            self._mint((key.namespace, key.name), self.order((key.namespace, key.name)))
        else:
            for user in plane.store.user_keys_of(key):
                if is_news or not _is_ready(plane.store.body(user)):
                    plane.queue.wake(user)

    def forget(self, key: Key) -> None:
        """Take that a resource is gone."""
        plane = self._plane
        groups = plane.store.group_keys_of(key)
        if (plane.store.body(key) or {"metadata": {}})["metadata"].get("deletionTimestamp"):
            plane.guard.note_deleted(key)
        plane.store.forget(key)
        self._before_hold.pop(key, None)
        plane.queue.forget(key)
        plane.forget(key)
        if key.plural == USERS:
            self._mint((key.namespace, key.name), None)
            plane.allow_minting((key.namespace, key.name))  # the next one of its name isn't held responsible
            for group in groups:
                plane.queue.wake(group)
        else:
            for user in plane.store.user_keys_of(key):
                plane.queue.wake(user)

    async def resync(self) -> dict[str, int]:
        """Compare the store with a fresh list, in case a watch died silently; return the differences found by kind.

        What a watch touched since the listing began is newer than the listing.
        """
        store = self._plane.store
        found = dict.fromkeys((GROUPS, USERS), 0)
        for plural in (GROUPS, USERS):
            before = {key: store.version(key) for key in store.all_keys() if key.plural == plural}
            alive: set[Key] = set()
            async for body in self._plane.kube.list_resources(plural):
                key = Key(plural, body["metadata"]["namespace"], body["metadata"]["name"])
                alive.add(key)
                if store.version(key) != before.get(key) or store.is_known(key, body):
                    continue
                known = store.body(key)
                if known is None or _asked(known) != _asked(body):
                    found[plural] += 1
                    self.see(plural, "MODIFIED", body)
            gone = [key for key, version in before.items() if key not in alive and store.version(key) == version]
            for key in gone:
                self.forget(key)
            found[plural] += len(gone)
        return found

    def order(self, user_key: tuple[str, str]) -> MintOrder | None:
        """Return what the newest body of a user (namespace, name) asks to mint."""
        key = Key(USERS, *user_key)
        store, before = self._plane.store, self._before_hold.get(key)
        try:
            user = store.user(key) if before is None else parse_user(_take_back(before, store.body(key)))
        except InvalidResourceError:
            # Not new, only unreadable (a stricter version of ours, say): what was delivered is kept fresh.
            user = salvage_user(_take_back(before, store.body(key)))
        return mint_order(user) if user is not None else None

    def _note_hold(self, key: Key, before: Body | None, body: Body) -> None:
        """Remember what a user asked for before it was put on hold: its tokens go on like that."""
        is_same = before is not None and before["metadata"].get("uid") == body["metadata"].get("uid")
        if before is None or not is_same or not _is_on_hold(body):
            self._before_hold.pop(key, None)
        elif key not in self._before_hold:
            self._before_hold[key] = json.dumps([before.get("spec"), before["metadata"].get("generation", 0)])


def _asked(body: Body) -> tuple[object, ...]:
    """Return what a body asks of us: anything but its status."""
    fields = ("uid", "generation", "deletionTimestamp", "annotations", "finalizers")
    return tuple(body["metadata"].get(field) for field in fields)


def _is_ready(body: Body | None) -> bool:
    conditions = ((body or {}).get("status") or {}).get("conditions") or ()
    return any(condition.get("type") == READY and condition.get("status") == "True" for condition in conditions)


def _is_on_hold(body: Body) -> bool:
    annotations = body["metadata"].get("annotations")
    return is_asked(annotations, ANNOTATION_PAUSED) or is_asked(annotations, ANNOTATION_PLAN_ONLY)


def _take_back(before: str | None, body: Body | None) -> Body:
    """Return a body without the edits since it was put on hold; None: it isn't, or nobody saw them."""
    if before is None or body is None:
        return body or {}
    spec, generation = json.loads(before)
    return {**body, "metadata": {**body["metadata"], "generation": generation}, "spec": spec}


def make_registry(edge: Edge) -> kopf.OperatorRegistry:
    """Return kopf's registry with our handlers; nothing is registered on Secrets, ever."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(GROUP, VERSION, USERS, registry=registry)
    @kopf.on.event(GROUP, VERSION, GROUPS, registry=registry)
    async def changed(event: kopf.RawEvent, resource: kopf.Resource, **_: Any) -> None:
        edge.see(resource.plural, event["type"], event["object"])

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info()

    _ = changed, login
    return registry


class Backoffs:
    """How long kopf waits between its tries, in seconds: for ever, and never for long.

    By default it gives up after a minute of HTTP 500 (etcd is away, say), which would end the operator and with it the
    sessions that it holds; and it comes back 21 s late.
    """

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1.0, 1.0, 2.0, 3.0), itertools.repeat(5.0))


def make_settings(*, clusterwide: bool) -> kopf.OperatorSettings:
    """Return kopf's settings: a watch pump without peering, Events or state of its own.

    Args:
        clusterwide: False for a list of namespaces: there are no rights then to follow namespaces and CRDs as they come
            and go.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.watching.server_timeout = 300  # the API server refuses a float here
    settings.watching.client_timeout = 330.0
    settings.watching.connect_timeout = 10.0
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 10.0
    settings.networking.enforce_retry_after = True
    settings.networking.error_backoffs = Backoffs()
    settings.scanning.disabled = not clusterwide
    return settings


async def connection_info() -> kopf.ConnectionInfo:
    """Return how kopf logs in: as our own clients do; a Pod's token is read anew before it ends."""
    configuration = await load_configuration()
    token = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization")
    scheme, _, text = (token or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme=(scheme or "Bearer") if text else None,
        token=text or None,
        expiration=_expiration(text),
    )


def _expiration(token: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(token_claims(token)["exp"]), tz=UTC) - TOKEN_MARGIN
    except (KeyError, ValueError, TypeError):
        return None


async def resync_forever(edge: Edge, *, interval_s: float, report: Callable[[str, int], None]) -> None:
    """Resync every `interval_s` seconds; `report` hears the kind and how many differences were found."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            differences = await edge.resync()
        except OperatorError as error:  # the next one makes up for it
            log.warning("resources not listed anew", reason=error.reason, message=error.message)
            continue
        for plural, found in differences.items():
            report(plural, found)
