"""For applications that use redis-py: connect without a static password, and stay connected.

    import redis
    from elasticache_iam.client import SecretFileCredentialProvider, stay_connected

    client = stay_connected(redis.Redis(host=..., ssl=True, credential_provider=SecretFileCredentialProvider()))

redis-py asks the provider for username and token on every new connection; `stay_connected` lets each connection log in
again before ElastiCache cuts it, 12 hours after its login. Needs redis-py and nothing else, and starts no thread.
"""

from elasticache_iam.client.connections import (
    CONNECTION_LIFE,
    AsyncReauthenticatingConnection,
    ReauthenticatingConnection,
    stay_connected,
)
from elasticache_iam.client.errors import CredentialsUnavailableError
from elasticache_iam.client.files import DEFAULT_DIRECTORY, SecretFileCredentialProvider
from elasticache_iam.client.signing import HasFrozenCredentials, IamCredentialProvider

__all__ = [
    "CONNECTION_LIFE",
    "DEFAULT_DIRECTORY",
    "AsyncReauthenticatingConnection",
    "CredentialsUnavailableError",
    "HasFrozenCredentials",
    "IamCredentialProvider",
    "ReauthenticatingConnection",
    "SecretFileCredentialProvider",
    "stay_connected",
]
