"""Username and token from the files of a mounted Secret, read on every login."""

from pathlib import Path
from typing import Final

from redis.credentials import CredentialProvider

from elasticache_iam.client.errors import CredentialsUnavailableError

DEFAULT_DIRECTORY: Final = "/var/run/secrets/elasticache-iam"

_CURRENT: Final = "..data"
"""The kubelet's link to the files that hold now: it writes a new folder, swaps this link, removes the old folder."""
_READINGS: Final = 5
"""The kubelet swaps once a minute at most; a reading that loses to it this often in a row never happens."""


class SecretFileCredentialProvider(CredentialProvider):
    """Reads the Secret that the operator keeps fresh.

    Mount it as a volume without `subPath`: environment variables and subPath mounts are never updated. It holds nothing
    but the paths, so any number of clients and threads may share one.

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
        self._directory = Path(directory)
        self._files = (username_file, password_file)

    def get_credentials(self) -> tuple[str, str]:  # type: ignore[explicit-override]  # Python 3.12's
        """Return username and token as they are now, both of one version.

        Raises:
            CredentialsUnavailableError: Nothing is mounted there, or a file is empty or unreadable.
        """
        problem = ""
        for _ in range(_READINGS):
            try:
                return self._read()
            except FileNotFoundError as error:  # also while it is swapped: the next reading finds the new version
                problem = f"{error.filename} is missing: mount the Secret there, as a volume"
            except OSError as error:
                problem = f"{error.filename} can't be read: {error.strerror}"
        # Raised out here, so that it carries no other exception.
        raise CredentialsUnavailableError(f"no credentials to log in with: {problem}")

    async def get_credentials_async(self) -> tuple[str, str]:  # type: ignore[explicit-override]  # Python 3.12's
        """As get_credentials: two small files in memory (tmpfs) are no reason for a thread."""
        return self.get_credentials()

    def _read(self) -> tuple[str, str]:
        current = self._directory / _CURRENT
        # Resolved once: two files read through the link could be of two versions.
        version = current.resolve(strict=True) if current.is_symlink() else self._directory
        username, password = (self._text(version / name) for name in self._files)
        return username, password

    def _text(self, path: Path) -> str:
        text = path.read_bytes().decode(errors="replace").strip()  # never an exception that shows what was read
        if not text:
            raise CredentialsUnavailableError(f"no credentials to log in with: {path.name} is empty in {path.parent}")
        return text
