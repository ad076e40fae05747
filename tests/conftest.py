"""Fixtures for all tests."""

import asyncio

from hypothesis.internal.conjecture import providers

pytest_plugins = ["elasticache_iam_sandbox.pytest_plugin"]

# looptime asks for the current loop even in tests without one; unless that was set once, asyncio makes one that nobody
# closes, and its ResourceWarning fails the next test.
asyncio.set_event_loop(None)

# Hypothesis mixes in the constants of whatever modules a process happens to have imported: what a seed stands for would
# depend on the tests that ran before, and a failure could not be repeated.
providers._get_local_constants = lambda: providers._local_constants
