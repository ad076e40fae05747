"""An application in Python: works on its cache with only its mounted Secret, and tells once a second what it sees.

Runs in a pod. It keeps one connection for good, which logs in again before the cache cuts it, and opens another each
second: so the token in the file must be good at every moment.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from elasticache_iam.client import SecretFileCredentialProvider, stay_connected

FOLDER = Path("/var/run/secrets/elasticache-iam")


def read(name: str) -> str:
    return (FOLDER / name).read_text().strip()


def connect() -> redis.Redis:
    return redis.Redis(
        host=read("host"),
        port=int(read("port")),
        ssl=True,
        ssl_ca_certs=str(FOLDER / "ca.crt"),
        credential_provider=SecretFileCredentialProvider(FOLDER),
        retry=Retry(NoBackoff(), 0),  # every failure is seen
    )


def main(connection_seconds: float) -> None:
    kept = stay_connected(connect(), connection_life=timedelta(seconds=connection_seconds))
    failures: list[str] = []
    slowest_s = 0.0
    while True:
        began = time.monotonic()
        try:
            count = kept.incr("orders:count")
            with connect() as fresh:
                fresh.get("orders:count")
        except (OSError, redis.RedisError) as error:
            failures.append(type(error).__name__)
            count = None
        slowest_s = max(slowest_s, time.monotonic() - began)
        try:
            expires_at = read("expires-at")
        except FileNotFoundError:  # swapped just now
            expires_at = read("expires-at")
        seen = {"count": count, "expires_at": expires_at, "failures": failures, "slowest_s": round(slowest_s, 3)}
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()
        time.sleep(1)


if __name__ == "__main__":
    main(float(sys.argv[1]))
