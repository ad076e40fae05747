"""Log in as Terraform Enterprise does: with its settings from the environment, and its role from the Pod.

TFE_REDIS_HOST=… TFE_REDIS_USER=… … AWS_ROLE_ARN=… AWS_WEB_IDENTITY_TOKEN_FILE=… python login.py
"""

import os

import boto3
import redis

from elasticache_iam.client import IamCredentialProvider


def connect(prefix: str) -> redis.Redis:
    """Return a client for the settings that begin with a prefix; it signs its token when it connects."""
    settings = {name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)}
    host, _, port = settings["HOST"].rpartition(":")
    provider = IamCredentialProvider(
        boto3.Session().get_credentials(),
        user_id=settings["USER"],
        cache_id=settings["PASSWORDLESS_AWS_HOST_NAME"],
        region=settings["PASSWORDLESS_AWS_REGION"],
        service=settings["PASSWORDLESS_AWS_SERVICE_NAME"],
    )
    return redis.Redis(
        host,
        int(port),
        credential_provider=provider,
        ssl=settings["USE_TLS"] == "true",
        ssl_ca_certs=os.environ.get("AWS_CA_BUNDLE"),  # the sandbox's; ElastiCache's own certificates need none
    )


def main() -> None:
    """Say who is logged in, for the application and for its job queue."""
    for prefix in ("TFE_REDIS_", "TFE_REDIS_SIDEKIQ_"):
        with connect(prefix) as client:
            client.set("tfe:seen", prefix)
            print(prefix, client.acl_whoami())


if __name__ == "__main__":
    main()
