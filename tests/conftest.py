"""Fixtures for all tests."""

import asyncio

pytest_plugins = ["elasticache_iam_sandbox.pytest_plugin"]

# looptime asks for the current loop even in tests without one; unless that was set once, asyncio makes one that nobody
# closes, and its ResourceWarning fails the next test.
asyncio.set_event_loop(None)
