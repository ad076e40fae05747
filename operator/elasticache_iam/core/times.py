"""Times as the API server, our annotations and AWS tags show them."""

from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    """Return a time in UTC and whole seconds, rounded down: an expiry is never promised later than it comes."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(at: datetime) -> str:
    """Return metav1.MicroTime: always six digits, always Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
