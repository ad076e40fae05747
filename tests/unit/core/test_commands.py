"""What people are told to paste: a shell hands each argument over as it is, whatever somebody has put into it."""

import shlex
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticache_iam.api.group import Service
from elasticache_iam.core import commands
from elasticache_iam.core.names import group_arn
from elasticache_iam.core.state import CacheKind, CacheRef, Place

HOSTILE = st.one_of(
    st.text(min_size=1),
    st.sampled_from(
        ["';touch${IFS}/tmp/x;'", '"$(id)"', "`id`", "a\nid", "a # b", "\\'; id #", "-rf", "~", "*", "&id&"]
    ),
)
EC, MEMDB = (Place(service, "111122223333", "eu-central-1") for service in (Service.ELASTICACHE, Service.MEMORYDB))
PLACES = (EC, MEMDB)

COMMANDS: dict[str, Callable[[str], str]] = {
    "refresh": lambda text: commands.refresh(text, "app"),
    "unpause": lambda text: commands.unpause("shop", text),
    "repair by the operator": lambda text: commands.have_repaired("shop", text),
    "trust": lambda text: commands.set_trust("role", {"Statement": [text]}, is_ours=False),
    "trust that isn't known": lambda text: commands.set_trust(text, None, is_ours=True),
    "connect": lambda text: commands.allow_connect(
        text, user_arn="arn:aws:a:b:c:user:d", cache_arn="arn:aws:a:b:c:replicationgroup:d", service="elasticache",
        is_ours=True,
    ),
    "boundary": lambda text: commands.widen(text, "elasticache"),
    "role": commands.create_role,
    "consent of a role's owner": lambda text: commands.consent_to_role("role", text),
    "boundary that is missing": commands.create_boundary,
    "role with its trust": lambda text: commands.create_role(text, {"Statement": []}),
    "policy that is printed": lambda text: commands.print_operator_policy("--owner", text),
    "policy": lambda text: commands.put_operator_policy(text, "operator", "print it"),
    "policy that is managed": lambda text: commands.put_operator_policy("role", f"arn:{text}", "print it"),
    "policy that goes": lambda text: commands.remove_policy("role", f"p-{text}"),
    "policy that is detached": lambda text: commands.remove_policy(text, "arn:aws:iam::111122223333:policy/one"),
    "association": lambda text: commands.associate("cluster", "shop", text, "arn"),
    "agent": commands.add_pod_identity_agent,
    "deletion": lambda text: commands.delete("Secret", "shop", text),
    "confirmation": commands.confirm_deletions,
    **{f"consent, {at.service}": lambda text, at=at: commands.consent(group_arn(at, "g"), text) for at in PLACES},
    "terms": lambda text: commands.show_role_terms(text, "app", "trust"),
    "annotation": lambda text: commands.annotate_service_account("shop", "app", "key", text),
    "audience": lambda text: commands.add_audience("https://issuer.example", text, provider_arn=None),
    "provider": lambda text: commands.add_audience("https://issuer.example", "aud", provider_arn=text),
    **{f"show user, {at.service}": lambda text, at=at: commands.show_user(at, text) for at in PLACES},
    **{f"show group, {at.service}": lambda text, at=at: commands.show_group(at, text) for at in PLACES},
    **{f"IAM mode, {at.service}": lambda text, at=at: commands.set_iam_mode(at, text) for at in PLACES},
    **{f"member, {at.service}": lambda text, at=at: commands.add_member(at, text, "u") for at in PLACES},
    **{f"show {kind}": lambda text, kind=kind: commands.show_cache(CacheRef(kind, text), "r") for kind in CacheKind},
    **{f"attach to {kind}": lambda t, kind=kind: commands.attach(CacheRef(kind, "c"), "r", t) for kind in CacheKind},
    **{f"exchange on {kind}": lambda t, k=kind: commands.exchange(CacheRef(k, t), "r", "g") for kind in CacheKind},
    **{f"upgrade {kind}": lambda t, kind=kind: commands.upgrade(CacheRef(kind, "c"), "r", t) for kind in CacheKind},
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=40)
@given(text=HOSTILE)
def test_a_shell_takes_a_command_apart_as_it_was_put_together(name: str, text: str):
    benign, hostile = (shlex.split(COMMANDS[name](given), comments=True) for given in ("PLAIN", text))

    if name == "trust":
        assert len(hostile) == len(benign)  # JSON has escapes of its own
    else:
        assert hostile == [word.replace("PLAIN", text) for word in benign]


@given(rules=st.lists(st.one_of(HOSTILE, st.sampled_from(["on", "OFF", "~orders:*", "+get"]))))
def test_rights_stay_one_argument_when_a_user_is_switched_on(rules: list[str]):
    words = shlex.split(commands.switch_on(PLACES[0], "demo-app", " ".join(rules)))

    kept = [rule for rule in " ".join(rules).split() if rule.lower() not in {"on", "off"}]
    assert words[:-1] == [
        *("aws", "elasticache", "modify-user", "--region", "eu-central-1"),
        *("--user-id", "demo-app", "--access-string"),
    ]
    assert words[-1] == " ".join(["on", *kept])


@pytest.mark.parametrize(
    ("arn", "command"),
    [
        (
            "arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:orders",
            "aws elasticache add-tags-to-resource --region eu-central-1 --resource-name",
        ),
        (
            "arn:aws:memorydb:us-east-1:111122223333:cluster/orders",
            "aws memorydb tag-resource --region us-east-1 --resource-arn",
        ),
    ],
    ids=["elasticache", "memorydb"],
)
def test_each_service_has_its_own_command_to_consent_by(arn: str, command: str):
    assert commands.consent(arn, "demo/platform") == (
        f"{command} {arn} --tags Key=elasticache-iam.dev/allow,Value=demo/platform"
    )
