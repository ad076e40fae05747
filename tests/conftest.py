"""Fixtures for all tests."""

pytest_plugins = ["elasticache_iam_sandbox.pytest_plugin"]
