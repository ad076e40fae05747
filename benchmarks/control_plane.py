"""What the control plane costs: AWS calls an hour, a crowd of new users, an idle pass, one change amid a crowd.

The operator's own planes with real boto3, in one process with the sandbox's AWS and a Kubernetes API in memory: the
calls are counted where AWS would count them. Run: python -m benchmarks.control_plane [--full]
"""

import argparse
import asyncio
import logging
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from tests.builders import group_manifest, user_manifest
from tests.world.harness import Ground, Operator, ground

from elasticache_iam.reconcile.queue import USERS
from elasticache_iam_sandbox.world.call import AwsError, Call

UNLIMITED = {"users": 100_000, "groups": 10_000, "roles": 100_000, "users_per_group": 10_000}
DRIFT_S = 300.0
PASSES_PER_HOUR = 12
ELASTICACHE_PER_S, IAM_PER_S = 10.0, 15.0
"""The operator's own default pace."""
AWS_PER_S: Final = {"elasticache": 20.0, "iam": 30.0}
"""What AWS lets pass here: its own limits aren't published; throttling at twice the pace shows that the pace holds."""
GROUP_SIZE = 100
CALM_LOOKS = 5
TIMEOUT_S = 1800.0
KUBE_WRITES = {"create", "update", "patch", "delete"}
MINTING = {"secrets", "serviceaccounts/token", "configmaps"}


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[Ground]:
    """Yield a ground with room for many users, without checks of signatures (an hour passes in no time)."""
    async with ground(verify_signatures=False, **UNLIMITED, **settings) as made:
        yield made


def manifests(users: int, groups: int) -> list[Mapping[str, Any]]:
    """Return groups, each on a cache of its own, and users spread over them."""
    found: list[Mapping[str, Any]] = [
        group_manifest(f"group-{number}", caches=(f"cache-{number}",), engine="valkey") for number in range(groups)
    ]
    found += [user_manifest(f"user-{number}", group=f"group-{number % groups}") for number in range(users)]
    return found


async def bring_up(made: Ground, users: int, groups: int, config: Mapping[str, Any] | None = None) -> Operator:
    """Create everything, and return when all of it is Ready and nothing is due."""
    for number in range(groups):
        made.add_cache(f"cache-{number}", engine="valkey", engine_version="8.0.1")
    operator = await made.start({"verifyLogins": False, **(config or {})})
    made.apply(*manifests(users, groups))
    await until_ready(made, users)
    await settle(operator)
    return operator


async def until_ready(made: Ground, users: int) -> None:
    """Wait until each user is Ready."""
    waiting = {f"user-{number}" for number in range(users)}

    def is_done() -> bool:
        waiting.difference_update([name for name in waiting if made.is_ready(USERS, "shop", name)])
        return not waiting

    deadline = time.monotonic() + TIMEOUT_S
    while not is_done():
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(waiting)} users aren't Ready after {TIMEOUT_S:.0f} s")
        with made.aws.lock:
            made.world.advance()
        await asyncio.sleep(0.05 + len(waiting) / 20_000)


async def settle(operator: Operator) -> None:
    """Wait until nothing is due."""
    calm = 0
    while calm < CALM_LOOKS:
        calm = calm + 1 if operator.plane.queue.is_idle else 0
        await asyncio.sleep(0.01)


def calls_by_service(made: Ground) -> Counter[str]:
    """Return the calls since the last reset, by what AWS throttles together."""
    families = {"resourcegroupstaggingapi": "iam + tagging", "iam": "iam + tagging"}
    found: Counter[str] = Counter()
    for (service, _), count in made.world.call_counts().items():
        found[families.get(service, service)] += count
    return found


async def steady_state(users: int, groups: int) -> None:
    """Print what an hour without changes costs."""
    async with world() as made:
        operator = await bring_up(made, users, groups)
        made.world.reset_call_counts()
        first_call = len(made.kube.calls)
        passes = operator.passes
        cpu_s = 0.0
        for _ in range(PASSES_PER_HOUR):
            before = time.process_time()
            made.pass_time(DRIFT_S)
            await settle(operator)
            cpu_s += time.process_time() - before
        calls = calls_by_service(made)
        passes = operator.passes - passes
        # A refresh is one write to one Secret, and the token plane's business.
        others = sum(
            1 for call in made.kube.calls[first_call:] if call.verb in KUBE_WRITES and call.resource not in MINTING
        )
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        writes = sum(count for (_, name), count in made.world.call_counts().items() if is_write(name))
        rival = PASSES_PER_HOUR * (users + groups + len(made.in_aws()["caches"]))
        print(
            f"{users:>7,} {groups:>6} {calls['elasticache']:>13,} {calls['iam + tagging']:>13,} {calls['sts']:>7,}"
            f" {rival:>9,} {writes:>9,} {others:>10,} {1e6 * cpu_s / passes:>8,.0f} {rss:>8,.0f}"
        )


async def crowd(users: int) -> None:
    """Print what it takes to create many users at once, at the default pace."""
    groups = users // GROUP_SIZE
    async with world(transition_s=2.0, calls_per_s=AWS_PER_S) as made:
        throttled = count_throttled(made)
        for number in range(groups):
            made.add_cache(f"cache-{number}", engine="valkey", engine_version="8.0.1")
        operator = await made.start({"verifyLogins": False}, paces=(ELASTICACHE_PER_S, IAM_PER_S))
        started = time.monotonic()
        made.apply(*manifests(users, groups))
        await until_ready(made, users)
        took_s = time.monotonic() - started
        await settle(operator)
        counts = {name: count for (_, name), count in made.world.call_counts().items()}
        writes = {name: count for name, count in counts.items() if is_write(name)}
        least = 3 * users + 3 * groups  # user, role and policy; group, its first members and its attachment
        elasticache = sum(c for (service, _), c in made.world.call_counts().items() if service == "elasticache")
        iam = sum(c for (service, _), c in made.world.call_counts().items() if service == "iam")
        pace_s = max(elasticache / ELASTICACHE_PER_S, iam / IAM_PER_S)
        least_s = max((users + 3 * groups) / ELASTICACHE_PER_S, 2 * users / IAM_PER_S)
        made_writes = sum(writes.values())
        share = made_writes / least
        print(f"  AWS writes          {made_writes:>8,}   least possible {least:,} ({share:.2f}x; goal: at most 1.10x)")
        for name, count in sorted(writes.items()):
            print(f"    {name:<26} {count:>6,}")
        print(f"  all Ready after     {took_s:>8.0f} s")
        print(f"  the writes alone    {least_s:>8.0f} s at our pace ({took_s / least_s:.2f}x; goal: at most 1.30x)")
        print(f"  calls at that pace  {pace_s:>8.0f} s   throttled by AWS: {len(throttled)} (goal: 0)")


def is_write(operation: str) -> bool:
    """Whether an operation of AWS's changes something."""
    return not operation.startswith(("Describe", "Get", "List", "Assume", "Simulate"))


def count_throttled(made: Ground) -> list[str]:
    """Return a list that the operations which AWS throttles are added to."""
    throttled: list[str] = []
    dispatch = made.world.dispatch

    def watched(call: Call) -> Any:
        try:
            return dispatch(call)
        except AwsError as error:
            if "Throttl" in error.code or error.code == "RequestLimitExceeded":
                throttled.append(call.operation)
            raise

    made.world.dispatch = watched  # type: ignore[method-assign]  # the gateway looks it up at each call
    return throttled


async def change_amid_crowd(users: int) -> None:
    """Print how long one change takes while many users are being created."""
    groups = users // GROUP_SIZE + 1
    async with world(transition_s=0.2, calls_per_s=AWS_PER_S) as made:
        for number in range(groups):
            made.add_cache(f"cache-{number}", engine="valkey", engine_version="8.0.1")
        operator = await made.start({"verifyLogins": False}, paces=(ELASTICACHE_PER_S, IAM_PER_S))
        crowd_of_users = manifests(users, groups)
        made.apply(*crowd_of_users[:groups], user_manifest("first", group="group-0"))
        await made.until(lambda: made.is_ready(USERS, "shop", "first"), timeout_s=60.0)
        made.apply(*crowd_of_users[groups:])
        await asyncio.sleep(5.0)
        waits = []
        for round_ in range(5):
            started = time.monotonic()
            keys = [f"orders-{round_}:*"]
            made.apply(user_manifest("first", group="group-0", access={"preset": "ReadOnly", "keys": keys}))
            await made.until(lambda wanted=keys[0]: is_served(made, wanted), timeout_s=60.0)
            waits.append(time.monotonic() - started)
        ready = sum(made.is_ready(USERS, "shop", f"user-{number}") for number in range(users))
        waits.sort()
        print(f"  from the edit to AWS having it: median {waits[2]:.2f} s, longest {waits[-1]:.2f} s (goal: 2 s)")
        print(f"  ({users - ready} of {users} others not Ready yet; {operator.plane.queue.depth()} resources waiting)")


def is_served(made: Ground, pattern: str) -> bool:
    """Whether AWS was told the new access string."""
    return any(pattern in user[3] for user in made.in_aws()["users"].values())


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="with 10,000 users and 1,000 at once (about ten minutes)")
    full = parser.parse_args().full
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print("An hour without changes (drift interval 300 s, slow 3600 s); passes over all resources each 300 s")
    print("Goal at 1,000 users in 20 groups: at most 200 and 130. The rival makes one call for each object and pass.")
    print("  users groups  elasticache/h  iam+tagging/h   sts/h   rival/h  writes/h  k8s wr/h  µs/pass  RSS MiB")
    for users, groups in [(10, 1), (100, 20), (1_000, 20), *([(10_000, 100)] if full else [])]:
        await steady_state(users, groups)
    many = 1_000 if full else 200
    print(f"{many:,} users in groups of {GROUP_SIZE} applied at once")
    await crowd(many)
    print(f"One change while {many:,} others are being created")
    await change_amid_crowd(many)


if __name__ == "__main__":
    asyncio.run(main())
