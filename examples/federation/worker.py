"""Count tickets with tokens that the worker signs itself, by a role that it becomes with its ServiceAccount's token.

In the environment: AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, which boto3 finds by itself (it becomes the role again
before a session ends), REDIS_HOST, REDIS_PORT, REDIS_USER, CACHE_ID and CACHE_REGION. AWS_CA_BUNDLE is for a sandbox,
whose certificates no public authority has signed.
"""

import os

import boto3
import redis

from elasticache_iam.client import IamCredentialProvider, stay_connected


def connect() -> redis.Redis:
    """Return a client that signs a token for each new connection, and logs in again before the 12-hour cut."""
    provider = IamCredentialProvider(
        boto3.Session().get_credentials(),
        user_id=os.environ["REDIS_USER"],
        cache_id=os.environ["CACHE_ID"],
        region=os.environ["CACHE_REGION"],
    )
    client = redis.Redis(
        host=os.environ["REDIS_HOST"],
        port=int(os.environ["REDIS_PORT"]),
        ssl=True,
        ssl_ca_certs=os.environ.get("AWS_CA_BUNDLE"),
        credential_provider=provider,
    )
    return stay_connected(client)


def main() -> None:
    """Count once, and say who did."""
    with connect() as client:
        print(f"ticket:count is {client.incr('ticket:count')}, by {client.acl_whoami()}")


if __name__ == "__main__":
    main()
