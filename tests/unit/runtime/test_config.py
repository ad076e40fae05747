"""The configuration file: every failure is one line that names the setting."""

import base64
import json

import pytest
import trustme

from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.runtime.config import load_config, token_claims

PEM = trustme.CA().cert_pem.bytes().decode()


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_owner_is_enough(tmp_path):
    config = load_config(write(tmp_path, "owner: demo"))

    assert config.owner == "demo"
    assert (config.token_seconds, config.drift_interval, config.verify_logins) == (900, 300.0, True)


def test_keys_are_camel_case(tmp_path):
    config = load_config(write(tmp_path, "owner: demo\ntokenSeconds: 60\ndriftInterval: 30\nallowedTagKeys: [team]"))

    assert (config.token_seconds, config.drift_interval, config.allowed_tag_keys) == (60, 30.0, ("team",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "needs at least `owner`", id="empty"),
        pytest.param("[]", "must be a mapping", id="a-list"),
        pytest.param("owner: [", "not YAML", id="no-yaml"),
        pytest.param("region: eu-central-1", "owner", id="without-an-owner"),
        pytest.param("owner: Demo-1", "owner", id="an-owner-that-is-no-prefix"),
        pytest.param("owner: demo\ndriftIntervall: 3", "unknown setting driftIntervall", id="a-misspelt-key"),
        pytest.param("owner: demo\ntokenSeconds: 901", "tokenSeconds", id="a-token-that-lives-too-long"),
        pytest.param("owner: demo\naccount: '12'", "account", id="an-account-that-is-none"),
        pytest.param(
            "owner: demo\naccounts:\n"
            "- {id: '444455556666', namespaces: ['*'], roleArn: 'arn:aws:iam::777788889999:role/x'}",
            "roleArn is a role of account 777788889999, not of 444455556666",
            id="a-role-of-another-account",
        ),
        pytest.param("owner: demo\nleaseSeconds: 10", "leaseRenewDeadline < leaseSeconds", id="a-lease-without-room"),
        pytest.param("owner: demo\nmaxSessionSeconds: 60", "maxSessionSeconds", id="too-short-sessions"),
        pytest.param("owner: demo\nsigning: Password", "signing", id="an-unknown-way-of-signing"),
        pytest.param(
            "owner: demo\noperatorRoleArn: 'arn:aws:iam::111122223333:role/*'", "operatorRoleArn", id="any-role"
        ),
        pytest.param("owner: demo\npermissionsBoundary: b;id", "must be a policy's ARN", id="a-boundary-that-is-none"),
        pytest.param(
            "owner: demo\naccounts:\n"
            "- {id: '444455556666', namespaces: ['*'], roleArn: 'arn:aws:iam::444455556666:role/x',"
            " permissionsBoundary: b}",
            "accounts.0.permissionsBoundary: must be a policy's ARN",
            id="a-boundary-in-another-account-that-is-none",
        ),
        pytest.param(
            "owner: demo\naccounts:\n"
            "- {id: '444455556666', namespaces: ['*'], roleArn: 'arn:aws:iam::444455556666:role/x',"
            " permissionsBoundary: 'arn:aws:iam::777788889999:policy/b'}",
            "accounts.0: permissionsBoundary is a policy of account 777788889999, not of 444455556666",
            id="a-boundary-of-neither-account",
        ),
        pytest.param(
            "owner: demo\naccount: '111122223333'\npermissionsBoundary: 'arn:aws:iam::777788889999:policy/b'",
            "permissionsBoundary is a policy of account 777788889999, not of 111122223333",
            id="a-boundary-of-another-account",
        ),
        pytest.param(
            "owner: demo\nallowedTagKeys: [team, elasticache-iam.dev/owner]",
            "allowedTagKeys.1: no resource may have a tag whose key starts with elasticache-iam.dev/",
            id="a-tag-of-ours",
        ),
        pytest.param("owner: demo\nallowedTagKeys: ['AWS:foo']", "aws: (AWS's); leave it out", id="a-tag-of-awss"),
        pytest.param("owner: demo\ncacheCA: /nowhere.pem", "can't read /nowhere.pem", id="a-missing-ca"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, text, words):
    with pytest.raises(ConfigurationError) as caught:
        load_config(write(tmp_path, text))

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "account: '111122223333'\npermissionsBoundary: 'arn:aws:iam::111122223333:policy/b'",
        "account: '111122223333'\npermissionsBoundary: 'arn:aws:iam::aws:policy/PowerUserAccess'",
        "permissionsBoundary: 'arn:aws:iam::777788889999:policy/b'",
        "allowedTagKeys: [aws, 'team:aws:a', elasticache-iam.dev]",
    ],
    ids=["of-the-account", "of-awss", "of-an-account-found-out-later", "tags-that-only-look-reserved"],
)
def test_what_may_be_right_is_taken(tmp_path, text):
    assert load_config(write(tmp_path, f"owner: demo\n{text}")).owner == "demo"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        load_config(tmp_path / "config.yaml")


def test_the_ca_may_be_text_or_a_file(tmp_path):
    (tmp_path / "ca.pem").write_text(PEM, encoding="ascii")
    indented = PEM.replace("\n", "\n  ")

    inline = load_config(write(tmp_path, f"owner: demo\ncacheCA: |\n  {indented}"))
    named = load_config(write(tmp_path, f"owner: demo\ncacheCA: {tmp_path / 'ca.pem'}"))

    assert (inline.cache_ca or "").strip() == (named.cache_ca or "").strip() == PEM.strip()


def test_text_that_only_looks_like_a_certificate_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cacheCA: the text holds no PEM certificate"):
        load_config(write(tmp_path, "owner: demo\ncacheCA: '-----BEGIN junk'"))


def test_a_file_that_is_no_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("a private note", encoding="ascii")

    with pytest.raises(ConfigurationError) as caught:
        load_config(write(tmp_path, f"owner: demo\ncacheCA: {tmp_path / 'ca.pem'}"))

    assert "holds no PEM certificate" in str(caught.value)
    assert "private note" not in str(caught.value)


def test_wrong_values_are_not_repeated(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load_config(write(tmp_path, "owner: hunter2-hunter2"))

    assert "hunter2" not in str(caught.value)


def jwt(payload: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"


def test_claims_are_read():
    assert token_claims(jwt(json.dumps({"iss": "https://issuer"}).encode())) == {"iss": "https://issuer"}


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", jwt(b"[]"), jwt(b"{"), jwt(b"\xff"), "a b.c.d"])
def test_what_is_no_token_is_refused(text):
    with pytest.raises(ValueError, match=r"not a JWT|Expecting|codec"):
        token_claims(text)
