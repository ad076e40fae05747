"""Tokens over time: rotated with short lives, across restarts, and found nowhere but in their Secrets."""

import asyncio
import json
import logging
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs
from tests.builders import group_manifest, user_manifest
from tests.world.harness import Ground, ground
from tests.world.virtual import play, virtual_ground

from elasticache_iam.core.errors import InvalidSpecError, UnavailableError
from elasticache_iam.core.mint import LoginOutcome, LoginResult
from elasticache_iam.reconcile.queue import GROUPS, USERS
from elasticache_iam.tokens.plane import Fault

GROUP = (GROUPS, "platform", "orders")
USER = (USERS, "shop", "checkout")


def password(world: Ground) -> str:
    secret = world.kube.secret("shop", "checkout")
    assert secret is not None
    return secret["password"]


async def test_tokens_rotate_with_one_write_each_and_no_call_to_sts():
    async with ground(verify_signatures=False) as world:
        world.add_cache()
        operator = await world.start()
        world.apply(group_manifest(), user_manifest())
        await world.until_ready()
        await world.until_quiet(operator)
        world.kube.calls.clear()
        world.world.reset_call_counts()
        seen = [password(world)]

        for _ in range(5):
            world.pass_time(451)
            await world.until(lambda: password(world) != seen[-1])
            await world.until_quiet(operator)
            seen.append(password(world))

        assert [call.resource for call in world.kube.writes] == ["secrets"] * 5
        assert [call.resource for call in world.kube.calls if call.resource == "secrets"] == ["secrets"] * 5
        assert world.calls("AssumeRoleWithWebIdentity") == 0


def test_short_lives_are_kept_fresh():
    async def story() -> tuple[set[str], float]:
        seen, least_s = set(), 10.0
        async with virtual_ground(token_seconds=10) as world:
            world.add_cache()
            operator = await world.start({"tokenSeconds": 10})
            world.apply(group_manifest(), user_manifest())
            await world.until_ready()
            for _ in range(40):
                await asyncio.sleep(1.0)
                seen.add(password(world))
                least_s = min(least_s, operator.tokens.min_remaining_s()[Fault.OPERATOR] or 0.0)
        return seen, least_s

    seen, least_s = play(story())

    assert least_s > 4
    assert 8 <= len(seen) <= 11


async def test_a_restart_mints_nothing_that_is_still_fresh(world: Ground):
    world.add_cache()
    first = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await first.tokens.save_checkpoint()
    await first.kill()
    token = password(world)
    world.world.reset_call_counts()

    second = await world.start()
    await world.until_quiet(second)

    assert password(world) == token
    assert world.calls("AssumeRoleWithWebIdentity") <= 1  # its session, for the next one


@pytest.mark.parametrize("checkpoint", [None, b"", b"\x1f\x8bforged"], ids=["lost", "empty", "forged"])
async def test_a_restart_without_its_checkpoint_mints_at_once(world: Ground, checkpoint: bytes | None):
    world.add_cache()
    first = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await first.kill()
    token = password(world)
    world.kube._checkpoint = checkpoint
    world.pass_time(2)

    await world.start()

    await world.until(lambda: password(world) != token)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        pytest.param("now", "now", id="by-its-value"),
        pytest.param("x" * 3000, f"sha256:{sha256(b'x' * 3000).hexdigest()}", id="a-very-long-one-by-its-digest"),
    ],
)
async def test_the_refresh_annotation_mints_now_and_is_answered(world: Ground, asked: str, answer: str):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    token = password(world)
    world.pass_time(2)

    manifest = user_manifest()
    world.apply({**manifest, "metadata": {**manifest["metadata"], "annotations": {_key("refresh"): asked}}})
    await world.until(lambda: (world.kube.get(*USER) or {})["status"].get("refresh") == answer)
    await world.until_quiet(operator)

    assert password(world) != token
    assert world.is_ready()


async def test_of_a_status_that_is_refused_the_conditions_are_kept(world: Ground):
    world.add_cache()
    operator = await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()
    await world.until_quiet(operator)
    before = (world.kube.get(*USER) or {})["status"]
    manifest = user_manifest()

    world.kube.fail_next("patch_status", InvalidSpecError("status.refresh: Too long", code="Invalid"))
    with capture_logs() as logs:
        changed = {**manifest["metadata"], "annotations": {_key("refresh"): "now"}}
        world.apply(
            {
                **manifest,
                "metadata": changed,
                "spec": {**manifest["spec"], "access": {"preset": "ReadOnly", "keys": ["orders:*"]}},
            }
        )
        await world.until(lambda: (world.kube.get(*USER) or {})["status"]["observedGeneration"] == 2)

    assert before["observedGeneration"] == 1
    assert "the result of a pass wasn't kept" in {line["event"] for line in logs}
    assert {one["observedGeneration"] for one in (world.kube.get(*USER) or {})["status"]["conditions"]} & {2}


async def test_an_unreachable_cache_does_not_keep_a_user_from_being_ready(world: Ground):
    world.add_cache()
    world.probe.result = LoginResult(LoginOutcome.UNREACHABLE, "no route to 127.0.0.1:6379")
    await world.start()

    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    assert world.conditions(*USER)["Verified"] == ("Unknown", "Unreachable")


async def test_a_cache_with_an_untrusted_certificate_is_told(world: Ground):
    world.add_cache()
    world.probe.result = LoginResult(LoginOutcome.TLS_FAILED, "unable to get local issuer certificate")
    await world.start()

    world.apply(group_manifest(), user_manifest())

    await world.until_reason("TLSFailed")
    assert "local issuer" in world.condition(*USER, "Ready")["message"]


async def test_logins_that_are_switched_off_are_not_tried(world: Ground):
    world.add_cache()
    await world.start({"verifyLogins": False})

    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    assert world.probe.tried == []
    assert world.conditions(*USER)["Verified"] == ("Unknown", "Disabled")


async def test_the_template_of_a_secret_is_followed_when_it_changes(world: Ground):
    world.add_cache()
    await world.start()
    world.apply(group_manifest(), user_manifest())
    await world.until_ready()

    world.apply(user_manifest(delivery={"secret": {"template": {"ADDRESS": "{{ host }}:{{ port }}"}}}))

    await world.until(lambda: (world.kube.secret("shop", "checkout") or {}).get("ADDRESS") == "127.0.0.1:6379")
    world.apply(user_manifest())
    await world.until(lambda: "ADDRESS" not in (world.kube.secret("shop", "checkout") or {"ADDRESS": ""}))


async def test_nothing_secret_is_anywhere_but_in_secrets(world: Ground, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    identities: list[str] = []
    passwords: list[str] = []
    request_token = world.kube.request_token

    async def remember(*arguments: Any, **options: Any) -> Any:
        token = await request_token(*arguments, **options)
        identities.append(token.text)
        return token

    world.kube.request_token = remember  # type: ignore[method-assign]
    world.add_cache()
    world.fault("sts", "AssumeRoleWithWebIdentity", "AccessDenied", times=1)
    with capture_logs() as logs:
        operator = await world.start()
        world.kube.fail_next("create_secret", UnavailableError("down"))
        world.probe.result = LoginResult(LoginOutcome.UNREACHABLE, "no route")
        world.apply(group_manifest(), user_manifest())
        await world.later(world.is_ready, step_s=2)
        passwords.append(password(world))
        world.pass_time(460)
        await world.until(lambda: password(world) != passwords[0])
        passwords.append(password(world))
        await operator.tokens.save_checkpoint()
        reprs = repr(
            [vars(operator.tokens), vars(operator.tokens._sessions), operator.plane, vars(operator.plane.store)]
        )
        world.kube.delete(*USER)
        await world.until(lambda: world.kube.get(*USER) is None)

    keys = world.world._state.access_keys.values()
    session_tokens = [key.session_token for key in keys if key.session_token]
    secret_keys = [key.secret_access_key for key in keys]
    secrets = [*identities, *passwords, *session_tokens, *secret_keys]
    shown = "\n".join(
        (
            repr(logs),
            "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records if _is_ours(record)),
            json.dumps(world.kube.events),
            json.dumps([body for key, body in world.kube._objects.items() if key[0] in {USERS, GROUPS}]),
            json.dumps(world.in_aws()),
            reprs,
        )
    )
    assert len(identities) >= 1
    assert len(session_tokens) >= 1
    leaks = [secret[:8] for secret in secrets for form in (secret, quote(secret, safe="")) if form in shown]
    assert leaks == []


def _is_ours(record: logging.LogRecord) -> bool:
    """botocore logs whole requests at debug level; runtime/log.py holds it to warnings."""
    return record.levelno >= logging.WARNING or not record.name.startswith(("botocore", "boto3", "urllib3"))


def _key(name: str) -> str:
    return f"elasticache-iam.dev/{name}"
