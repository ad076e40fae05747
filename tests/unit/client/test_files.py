"""The provider that reads a mounted Secret, over the kubelet's way of swapping its files."""

from pathlib import Path

import pytest

from elasticache_iam.client import SecretFileCredentialProvider


class Mount:
    """A Secret volume as the kubelet lays it out: links through `..data`, which is swapped at once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.version = 0
        for name in ("username", "password"):
            (folder / name).symlink_to(Path("..data") / name)

    def put(self, username: str, password: str) -> Path:
        """Swap in a new version; return the folder of the one before."""
        before = self.folder / f"..{self.version}"
        self.version += 1
        fresh = self.folder / f"..{self.version}"
        fresh.mkdir()
        (fresh / "username").write_text(username)
        (fresh / "password").write_text(password)
        link = self.folder / "..data_tmp"
        link.symlink_to(fresh.name)
        link.rename(self.folder / "..data")
        return before


@pytest.fixture
def mount(tmp_path):
    mount = Mount(tmp_path)
    mount.put("checkout", "first-token")
    return mount


def test_both_files_are_read(mount):
    assert SecretFileCredentialProvider(mount.folder).get_credentials() == ("checkout", "first-token")


def test_each_connect_reads_anew(mount):
    provider = SecretFileCredentialProvider(mount.folder)
    provider.get_credentials()

    mount.put("checkout", "second-token")

    assert provider.get_credentials() == ("checkout", "second-token")


def test_a_swap_in_the_middle_is_read_again(mount, monkeypatch):
    provider = SecretFileCredentialProvider(mount.folder)
    read_text = Path.read_text
    failures = [FileNotFoundError("swapped")]

    def read_once_gone(path, *arguments):
        if path.name == "password" and failures:
            raise failures.pop()
        return read_text(path, *arguments)

    monkeypatch.setattr(Path, "read_text", read_once_gone)

    assert provider.get_credentials() == ("checkout", "first-token")


def test_nothing_mounted_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        SecretFileCredentialProvider(tmp_path).get_credentials()


def test_files_may_have_other_names(tmp_path):
    (tmp_path / "user").write_text("checkout\n")
    (tmp_path / "token").write_text("a-token\n")
    provider = SecretFileCredentialProvider(tmp_path, username_file="user", password_file="token")

    assert provider.get_credentials() == ("checkout", "a-token")


async def test_the_async_client_reads_the_same(mount):
    assert await SecretFileCredentialProvider(mount.folder).get_credentials_async() == ("checkout", "first-token")
