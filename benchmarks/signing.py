"""Microseconds of CPU per signed token: our stdlib signer beside botocore's, on one core, same inputs, same bytes.

Run: python benchmarks/signing.py
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from unittest import mock

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from elasticache_iam.core.token import Credentials, sign_token

ROUNDS = 30
SIGNATURES_PER_ROUND = 100
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SESSION_TOKEN = "IQoJb3JpZ2luX2VjE/+=" * 45  # an invented one, as long as STS's: 900 characters
OURS = Credentials("ASIAEXAMPLE", "SECRETEXAMPLE", SESSION_TOKEN)
BOTOCORES = ReadOnlyCredentials("ASIAEXAMPLE", "SECRETEXAMPLE", SESSION_TOKEN)
URL = "https://orders-prod/?Action=connect&User=prod-checkout-1286e5f6"


def sign_with_ours() -> str:
    return sign_token(
        OURS,
        service="elasticache",
        region="eu-west-1",
        cache_id="orders-prod",
        user_id="prod-checkout-1286e5f6",
        now=NOW,
    ).text


def sign_with_botocore() -> str:
    request = AWSRequest(method="GET", url=URL)
    SigV4QueryAuth(BOTOCORES, "elasticache", "eu-west-1", expires=900).add_auth(request)
    return str(request.url).removeprefix("https://")


def microseconds(sign: Callable[[], str]) -> float:
    start = time.process_time_ns()
    for _ in range(SIGNATURES_PER_ROUND):
        sign()
    return (time.process_time_ns() - start) / SIGNATURES_PER_ROUND / 1000


def main() -> None:
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        if sign_with_ours() != sign_with_botocore():
            raise SystemExit("the two signers disagree")
        # Alternating rounds: a busy neighbour slows both alike.
        rounds = [(microseconds(sign_with_ours), microseconds(sign_with_botocore)) for _ in range(ROUNDS)]
    ours, botocores = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"ours      {ours:6.1f} µs a signature (median of {ROUNDS} rounds of {SIGNATURES_PER_ROUND})")
    print(f"botocore  {botocores:6.1f} µs a signature, {botocores / ours:.1f} times as much")


if __name__ == "__main__":
    main()
