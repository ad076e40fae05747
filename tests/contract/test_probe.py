"""The login probe against a real redis-server over TLS."""

import asyncio
import socket
import subprocess
import time
from pathlib import Path

import pytest
import trustme

from elasticache_iam.cache.probe import RedisProbe
from elasticache_iam.core.mint import LoginOutcome

REDIS_SERVER = "/usr/bin/redis-server"
PASSWORD = "eyJ-a-token-that-must-never-be-shown"


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_pem(ca):
    return ca.cert_pem.bytes().decode()


@pytest.fixture(scope="module")
def port(ca, tmp_path_factory):
    """A redis-server whose certificate is for localhost alone."""
    folder = tmp_path_factory.mktemp("redis")
    certificate = ca.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "users.acl").write_text(
        "user default off\n"
        f"user checkout on >{PASSWORD} ~orders:* -@all +@read +acl|whoami\n"
        f"user mute on >{PASSWORD} ~* -@all\n"
    )
    port = free_port()
    process = subprocess.Popen(  # noqa: S603  # fixed arguments
        [
            REDIS_SERVER,
            *("--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file", str(folder / "key.pem")),
            *("--tls-ca-cert-file", str(folder / "ca.pem"), "--tls-auth-clients", "no"),
            *("--aclfile", str(folder / "users.acl"), "--dir", str(folder)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_listening(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_listening(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("redis-server doesn't listen")


async def login(ca_pem, port, *, host="localhost", username="checkout", password=PASSWORD):
    result = await RedisProbe(ca_pem).login(host=host, port=port, username=username, password=password)
    assert password not in repr(result)
    return result


async def test_the_right_password_logs_in(ca_pem, port):
    assert (await login(ca_pem, port)).outcome is LoginOutcome.LOGGED_IN


async def test_a_user_without_any_command_counts_as_logged_in(ca_pem, port):
    assert (await login(ca_pem, port, username="mute")).outcome is LoginOutcome.LOGGED_IN


async def test_a_wrong_password_is_refused(ca_pem, port):
    result = await login(ca_pem, port, password="not-the-password")

    assert result.outcome is LoginOutcome.REFUSED
    assert "WRONGPASS" in result.detail


async def test_an_unknown_user_is_refused(ca_pem, port):
    assert (await login(ca_pem, port, username="nobody")).outcome is LoginOutcome.REFUSED


async def test_nobody_listening_is_unreachable(ca_pem):
    result = await login(ca_pem, free_port())

    assert result.outcome is LoginOutcome.UNREACHABLE
    assert "route" in result.detail


async def test_an_unknown_name_is_unreachable(ca_pem, port):
    assert (await login(ca_pem, port, host="no-such-cache.invalid")).outcome is LoginOutcome.UNREACHABLE


async def test_another_ca_is_a_tls_failure_that_names_the_setting(port):
    result = await login(trustme.CA().cert_pem.bytes().decode(), port)

    assert result.outcome is LoginOutcome.TLS_FAILED
    assert "cacheCA" in result.detail


async def test_the_systems_cas_do_not_trust_a_private_one(port):
    assert (await login(None, port)).outcome is LoginOutcome.TLS_FAILED


async def test_a_certificate_of_another_name_is_a_tls_failure(ca_pem, port):
    result = await login(ca_pem, port, host="127.0.0.1")

    assert result.outcome is LoginOutcome.TLS_FAILED


async def test_a_broken_pem_is_a_tls_failure(port):
    result = await login("not a certificate", port)

    assert result.outcome is LoginOutcome.TLS_FAILED
    assert "cacheCA" in result.detail


async def test_the_probe_closes_its_connection(ca_pem, port):
    for password in (PASSWORD, "not-the-password"):
        await login(ca_pem, port, password=password)

    async with asyncio.timeout(30):
        while _open_connections(port):  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.01)


def _open_connections(port):
    """Count established TCP connections to a port, from /proc (state 01)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
