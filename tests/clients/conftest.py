"""A sandbox without a control plane: AWS and live caches, for stock clients of several languages."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.clients.mount import Mount

from elasticache_iam.client import IamCredentialProvider
from elasticache_iam.core.token import Credentials, sign_token
from elasticache_iam_sandbox.supervisor import REGION, BackgroundSandbox

TOKEN_SECONDS = 60
"""Of the tokens in the mounts: long enough for a slow machine."""


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """A sandbox that the tests here share."""
    with BackgroundSandbox(tmp_path_factory.mktemp("clients")) as running:
        yield running


class CacheOfClients:
    """A hardened cache, and for each client an IAM user of its own with a mounted Secret.

    Args:
        sandbox: Where it is made.
        cache_id: Of the cache.
        folder: For the Secrets' mounts.
        users: Names of the IAM users.
        options: Kind and shards.
    """

    def __init__(self, sandbox: BackgroundSandbox, cache_id: str, folder: Path, *users: str, **options: object) -> None:
        self.sandbox = sandbox
        self.users = users
        self.cache = sandbox.add_cache(cache_id, engine="valkey", **options)
        self._workload = sandbox.add_access_key(f"workload-{cache_id}")
        self._folder = folder
        api = sandbox.admin_session().client("elasticache")
        for user in users:
            api.create_user(
                UserId=user, UserName=user, Engine="valkey", AccessString="on ~* &* +@all",
                AuthenticationMode={"Type": "iam"},
            )  # fmt: skip
        api.create_user_group(UserGroupId=cache_id, Engine="valkey", UserIds=users)
        api.modify_replication_group(ReplicationGroupId=cache_id, UserGroupIdsToAdd=[cache_id], ApplyImmediately=True)
        sandbox.settle()
        self._mounts = {user: Mount(folder / user) for user in users}
        self.rotate()

    def folder(self, user: str) -> Path:
        """Return where a user's Secret is mounted."""
        return self._folder / user

    def rotate(self) -> None:
        """Put a fresh token into every Secret, as the operator and the kubelet do."""
        now = datetime.now(UTC)
        for user, mount in self._mounts.items():
            token = sign_token(
                Credentials(self._workload.access_key_id, self._workload.secret_access_key),
                service="elasticache",
                region=REGION,
                cache_id=self.cache.id,
                user_id=user,
                now=now,
                expires_s=TOKEN_SECONDS,
            )
            mount.put(
                {
                    "username": user,
                    "password": token.text,
                    "host": self.cache.host,
                    "port": str(self.cache.port),
                    "ca.crt": Path(self.cache.ca_file).read_text(),
                }
            )

    def signing_provider(self, user: str) -> IamCredentialProvider:
        """Return what a workload uses that signs for itself."""
        credentials = self.sandbox.session(self._workload).get_credentials()
        return IamCredentialProvider(credentials, user_id=user, cache_id=self.cache.id, region=REGION)

    def connections(self, user: str) -> dict[str, datetime]:
        """Return the addresses of a user's connections now, and when each logged in last."""
        fronts = self.sandbox._running._fronts
        open_now = self.sandbox._on_loop(lambda: fronts.connections(self.cache.id))
        return {connection.client_address: connection.since for connection in open_now if connection.user == user}

    def refusals(self) -> list[str]:
        """Return why logins to this cache were refused."""
        return [refusal.reason.value for refusal in self.sandbox.refusals() if refusal.cache_id == self.cache.id]
