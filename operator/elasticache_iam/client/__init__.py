"""Credential providers for redis-py: what an application needs to connect without a static password.

    import redis
    from elasticache_iam.client import SecretFileCredentialProvider

    redis.Redis(host=..., ssl=True, credential_provider=SecretFileCredentialProvider())

redis-py asks its provider on every new connection. ElastiCache cuts a connection 12 hours after its login; redis-py
then connects again by itself, with a fresh token. Needs redis-py and nothing else.
"""

from elasticache_iam.client.files import DEFAULT_DIRECTORY, SecretFileCredentialProvider
from elasticache_iam.client.signing import HasFrozenCredentials, IamCredentialProvider

__all__ = ["DEFAULT_DIRECTORY", "HasFrozenCredentials", "IamCredentialProvider", "SecretFileCredentialProvider"]
