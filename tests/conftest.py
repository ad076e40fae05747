"""Fixtures for all tests."""

import asyncio
from pathlib import Path

import pytest
from hypothesis.internal.conjecture import providers

pytest_plugins = ["elasticache_iam_sandbox.pytest_plugin"]

# looptime asks for the current loop even in tests without one; unless that was set once, asyncio makes one that nobody
# closes, and its ResourceWarning fails the next test.
asyncio.set_event_loop(None)

# Hypothesis mixes in the constants of whatever modules a process happens to have imported: what a seed stands for would
# depend on the tests that ran before, and a failure could not be repeated.
providers._get_local_constants = lambda: providers._local_constants

ASKED_FOR = {Path(__file__).parent / "e2e", Path(__file__).parent / "soak"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what takes long, and a cluster or hours, unless an argument names it: `make e2e`, `make soak`."""
    if collection_path not in ASKED_FOR:
        return None
    asked = (Path(argument.split("::")[0]).resolve() for argument in config.args)
    return None if any(collection_path in (path, *path.parents) for path in asked) else True
