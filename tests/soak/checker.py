"""An application's view of all Secrets at once, as a process of its own: reads them all the time and logs in.

It shares nothing with the operator, neither code nor credentials. It writes what it sees as JSON, one object a line;
`Checker` is the other side, for tests.

Run: python -m tests.soak.checker URL CA_FILE TOKEN NAMESPACE (until SIGTERM)
"""

import base64
import http.client
import json
import re
import signal
import ssl
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from elasticache_iam_sandbox.processes import Process

LOOK_S = 0.5
LOGIN_THREADS = 2
STALE_S = 20.0
"""A user that wasn't tried for so long is tried again, with the token that it still has."""
TIMEOUT_S = 20.0

_DATE = re.compile(r"X-Amz-Date=(\d{8}T\d{6}Z)")
_LIFE = re.compile(r"X-Amz-Expires=(\d+)")


@dataclass
class Seen:
    """A Secret's newest content, and how logging in went."""

    content: dict[str, str]
    issued_at: float
    expires_at: float
    first_seen_at: float
    tried_at: float = 0.0
    logged_in_at: float = 0.0
    longest_gap_s: float = 0.0
    logins: int = 0
    versions: int = 1


@dataclass
class Watcher:
    """Reads, compares, logs in, tells."""

    url: str
    ca_file: str
    token: str
    namespace: str
    seen: dict[str, Seen] = field(default_factory=dict)
    untried: "OrderedDict[str, None]" = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    enough: threading.Event = field(default_factory=threading.Event)
    connection: http.client.HTTPSConnection | None = None

    def run(self):
        threads = [threading.Thread(target=self._log_in_all_the_time, daemon=True) for _ in range(LOGIN_THREADS)]
        for thread in threads:
            thread.start()
        while not self.enough.wait(LOOK_S):
            try:
                listed = self._list()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.connection = None
                self._tell(blind=type(error).__name__, **self._least(time.time()))
                continue
            self._take(listed, time.time())
        for thread in threads:
            thread.join(TIMEOUT_S)
        now = time.time()
        self._tell(
            end={
                name: {
                    "logins": seen.logins,
                    "versions": seen.versions,
                    "longest_gap_s": max(seen.longest_gap_s, now - (seen.logged_in_at or seen.first_seen_at)),
                }
                for name, seen in self.seen.items()
            }
        )

    def _list(self):
        if self.connection is None:
            parts = urlsplit(self.url)
            context = ssl.create_default_context(cafile=self.ca_file)
            self.connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, context=context, timeout=TIMEOUT_S
            )
        path = f"/api/v1/namespaces/{self.namespace}/secrets?fieldSelector=type%3Dservicebinding.io/redis"
        self.connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(f"{answer.status}")
        return json.loads(body)["items"]

    def _take(self, listed, now):
        with self.lock:
            for item in listed:
                self._take_one(item["metadata"]["name"], item["data"], now)
            for name in self.seen.keys() - {item["metadata"]["name"] for item in listed}:
                self._tell(gone=name)
            shown = self._least(now)
        self._tell(secrets=len(listed), **shown)

    def _take_one(self, name, data, now):
        content = {key: base64.b64decode(value).decode() for key, value in data.items()}
        known = self.seen.get(name)
        if known is not None and known.content == content:
            return
        issued_at, expires_at = life_of(content)
        if known is None:
            self.seen[name] = Seen(content, issued_at, expires_at, now)
        else:
            # What the old one had left when the new one was signed; negative also where nobody could look meanwhile.
            self._tell(replaced=name, left_s=round(known.expires_at - issued_at, 1))
            known.content, known.issued_at, known.expires_at = content, issued_at, expires_at
            known.versions += 1
        self.untried[name] = None

    def _least(self, now):
        if not self.seen:
            return {}
        name, seen = min(self.seen.items(), key=lambda entry: entry[1].expires_at)
        return {"least": name, "least_left_s": round(seen.expires_at - now, 1)}

    # -- logging in ---------------------------------------------------------------------------------------------------

    def _log_in_all_the_time(self):
        while not self.enough.is_set():
            picked = self._pick()
            if picked is None:
                time.sleep(0.05)
                continue
            name, content = picked
            try:
                log_in(content)
            except redis.exceptions.AuthenticationError as error:
                left_s = life_of(content)[1] - time.time()
                self._tell(refused=name, error=str(error), left_s=round(left_s, 1))
            except (redis.exceptions.RedisError, OSError) as error:
                with self.lock:
                    self.untried.setdefault(name)
                self._tell(unreachable=name, error=type(error).__name__)
                time.sleep(0.5)
            else:
                self._note_login(name)

    def _pick(self):
        now = time.time()
        with self.lock:
            if self.untried:
                name, _ = self.untried.popitem(last=False)
            else:
                stale = [name for name, seen in self.seen.items() if now - seen.tried_at > STALE_S]
                if not stale:
                    return None
                name = min(stale, key=lambda each: self.seen[each].tried_at)
            self.seen[name].tried_at = now
            return name, dict(self.seen[name].content)

    def _note_login(self, name):
        now = time.time()
        with self.lock:
            seen = self.seen[name]
            seen.longest_gap_s = max(seen.longest_gap_s, now - (seen.logged_in_at or seen.first_seen_at))
            seen.logged_in_at = now
            seen.logins += 1

    def _tell(self, **told):
        line = json.dumps({"at": round(time.time(), 2), **told})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def life_of(content):
    """Return when a token was issued and when it ends, by its own text and by what the Secret says of it."""
    signed_at = datetime.strptime(_DATE.search(content["password"])[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    by_itself = signed_at + timedelta(seconds=int(_LIFE.search(content["password"])[1]))
    by_the_secret = datetime.fromisoformat(content["expires-at"])
    return signed_at.timestamp(), min(by_itself, by_the_secret).timestamp()


def log_in(content):
    """Log in with nothing but what stands in the Secret, TLS verified, and ask who we are."""
    with redis.Redis(
        host=content["host"],
        port=int(content["port"]),
        username=content["username"],
        password=content["password"],
        ssl=True,
        ssl_cert_reqs="required",
        ssl_check_hostname=True,
        ssl_ca_data=content["ca.crt"],
        retry=Retry(NoBackoff(), 0),
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        decode_responses=True,
    ) as client:
        who = client.acl_whoami()
        if who != content["username"]:
            raise redis.exceptions.AuthenticationError(f"logged in as {who}")


# -- the tests' side --------------------------------------------------------------------------------------------------


class Checker:
    """Runs it, and reads what it has seen so far."""

    def __init__(self, folder, *, url, ca_file, token, namespace):
        self._log = folder / "checker.jsonl"
        self._process = Process(
            "checker",
            (sys.executable, "-m", "tests.soak.checker", url, str(ca_file), token, namespace),
            log=self._log,
            cwd=Path(__file__).parents[2],
        )

    def start(self):
        self._process.start()

    def stop(self):
        if self._process.is_running:
            self._process.stop(3 * TIMEOUT_S)

    def entries(self):
        """Yield what it told; anything else on its output is a failure of its own."""
        for line in self._log.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                yield {"failure": line}

    def newest(self):
        """Return the newest look at all Secrets; {} before the first."""
        looks = [entry for entry in self.entries() if "secrets" in entry]
        return looks[-1] if looks else {}


def main():
    url, ca_file, token, namespace = sys.argv[1:]
    watcher = Watcher(url, ca_file, token, namespace)
    signal.signal(signal.SIGTERM, lambda *_: watcher.enough.set())
    watcher.run()


if __name__ == "__main__":
    main()
