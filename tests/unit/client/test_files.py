"""The provider that reads a mounted Secret, over the kubelet's way of swapping its files."""

import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.clients.mount import Mount, repeatedly

from elasticache_iam.client import CredentialsUnavailableError, SecretFileCredentialProvider


@pytest.fixture
def mount(tmp_path):
    mount = Mount(tmp_path)
    mount.log_in_as("checkout", "first-token")
    return mount


def test_both_files_are_read(mount):
    assert SecretFileCredentialProvider(mount.folder).get_credentials() == ("checkout", "first-token")


def test_each_login_reads_anew(mount):
    provider = SecretFileCredentialProvider(mount.folder)
    provider.get_credentials()

    mount.log_in_as("checkout", "second-token")

    assert provider.get_credentials() == ("checkout", "second-token")


def test_a_swap_between_the_two_files_is_read_again_as_a_whole(mount, monkeypatch):
    read_bytes = Path.read_bytes

    def swapped_meanwhile(path):
        if path.name == "password" and read_bytes(path) == b"first-token":
            mount.log_in_as("renamed", "second-token")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", swapped_meanwhile)

    assert SecretFileCredentialProvider(mount.folder).get_credentials() == ("renamed", "second-token")


def test_threads_that_read_while_the_files_are_swapped_always_get_a_pair(mount):
    mount.log_in_as("user-0", "token-0")
    provider = SecretFileCredentialProvider(mount.folder)
    versions = iter(range(1, 1_000_000))

    def swap():
        number = next(versions)
        mount.log_in_as(f"user-{number}", f"token-{number}")

    def read_all():
        return [provider.get_credentials() for _ in range(400)]

    with repeatedly(swap, every_s=0.0005), ThreadPoolExecutor(4) as threads:
        pairs = [pair for reading in [threads.submit(read_all) for _ in range(4)] for pair in reading.result()]

    assert {username.replace("user", "token") == password for username, password in pairs} == {True}
    assert len(set(pairs)) > 1


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (rmtree, "username is missing: mount the Secret there"),
        (lambda folder: (folder / "password").unlink(), "password is missing: mount the Secret there"),
        (lambda folder: (folder / "password").write_text(" \n"), "password is empty"),
        (
            lambda folder: ((folder / "password").unlink(), (folder / "password").mkdir()),
            "can't be read: Is a directory",
        ),
    ],
)
def test_what_is_wrong_with_the_files_is_said(tmp_path, spoil, problem):
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "username").write_text("checkout")
    (folder / "password").write_text("a-token")
    spoil(folder)

    with pytest.raises(CredentialsUnavailableError, match=problem):
        SecretFileCredentialProvider(folder).get_credentials()


def test_bytes_that_are_no_text_are_in_no_exception(tmp_path):
    (tmp_path / "username").write_text("checkout")
    (tmp_path / "password").write_bytes(b"secret\xff")
    (tmp_path / "empty").touch()

    assert SecretFileCredentialProvider(tmp_path).get_credentials() == ("checkout", "secret�")
    with pytest.raises(CredentialsUnavailableError) as caught:
        SecretFileCredentialProvider(tmp_path, password_file="empty").get_credentials()
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_files_may_have_other_names(tmp_path):
    (tmp_path / "user").write_text("checkout\n")
    (tmp_path / "token").write_text("a-token\n")
    provider = SecretFileCredentialProvider(tmp_path, username_file="user", password_file="token")

    assert provider.get_credentials() == ("checkout", "a-token")


async def test_the_async_client_reads_the_same(mount):
    assert await SecretFileCredentialProvider(mount.folder).get_credentials_async() == ("checkout", "first-token")


async def test_a_client_that_starts_before_the_files_are_there_connects_once_they_are(tmp_path, stub):
    mount = Mount(tmp_path / "later")
    with redis.Redis(
        port=stub.port, credential_provider=SecretFileCredentialProvider(mount.folder), retry=Retry(NoBackoff(), 0)
    ) as client:
        with pytest.raises(CredentialsUnavailableError):
            await stub.beside(client.ping)

        mount.log_in_as("checkout", "first-token")

        assert await stub.beside(client.ping)
    assert stub.logins == [("checkout", "first-token")]
