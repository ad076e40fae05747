"""Username and token from the files of a mounted Secret, read on every connect."""

from pathlib import Path
from typing import Final

from redis.credentials import CredentialProvider

DEFAULT_DIRECTORY: Final = "/var/run/secrets/elasticache-iam"


class SecretFileCredentialProvider(CredentialProvider):
    """Reads the Secret that the operator keeps fresh.

    Mount it as a volume without `subPath`: environment variables and subPath mounts are never updated.

    Args:
        directory: Where the Secret is mounted.
        username_file: Name of the file with the username.
        password_file: Name of the file with the token.
    """

    def __init__(
        self,
        directory: str | Path = DEFAULT_DIRECTORY,
        *,
        username_file: str = "username",
        password_file: str = "password",  # noqa: S107  # a file's name
    ) -> None:
        self._username = Path(directory) / username_file
        self._password = Path(directory) / password_file

    def get_credentials(self) -> tuple[str, str]:  # type: ignore[explicit-override]  # Python 3.12's
        """Return username and token as they are now. Raises FileNotFoundError where nothing is mounted.

        The kubelet swaps the directory that the files are links into, so a file may vanish between being looked up and
        being opened; at the second look the new directory is in place.
        """
        try:
            return self._read()
        except FileNotFoundError:
            return self._read()

    async def get_credentials_async(self) -> tuple[str, str]:  # type: ignore[explicit-override]  # Python 3.12's
        """As get_credentials: two small files in memory (tmpfs) are no reason for a thread."""
        return self.get_credentials()

    def _read(self) -> tuple[str, str]:
        return self._username.read_text().strip(), self._password.read_text().strip()
