"""The presets, literally: they are a contract with everybody who uses them."""

import pytest

from elasticache_iam.api.access import Access, Preset
from elasticache_iam.core.access import render_access_string
from elasticache_iam.core.errors import InvalidSpecError

unchecked = Access.model_construct  # the model refuses most of it as well


def test_read_only():
    access = Access(preset=Preset.READ_ONLY, keys=("orders:*", "items:*"))

    assert render_access_string(access) == (
        "on ~orders:* ~items:* -@all +@read +@connection +@transaction -@dangerous"
        " +cluster|slots +cluster|shards +cluster|nodes +command +acl|whoami +info"
    )


def test_read_write_with_a_channel():
    access = Access(preset=Preset.READ_WRITE, keys=("orders:*",), channels=("events:*",))

    assert render_access_string(access) == (
        "on ~orders:* &events:* -@all +@read +@connection +@transaction +@write +@pubsub -@dangerous"
        " +cluster|slots +cluster|shards +cluster|nodes +command +acl|whoami +info"
        " -function +eval +evalsha +script|load +script|exists"
    )


def test_admin():
    assert render_access_string(Access(preset=Preset.ADMIN)) == "on ~* &* +@all"


def test_all_keys_need_no_others_which_servers_refuse_behind_them():
    access = Access(preset=Preset.READ_WRITE, keys=("orders:*", "*"), channels=("*", "events"))

    assert render_access_string(access).startswith("on ~* &* -@all ")


def test_a_raw_access_string_is_sent_as_it_is():
    assert render_access_string(Access(access_string=" on  ~b ~a +@read ")) == "on  ~b ~a +@read"


@pytest.mark.parametrize(
    ("access", "why"),
    [
        pytest.param(unchecked(), "exactly one", id="nothing"),
        pytest.param(unchecked(preset=Preset.ADMIN, access_string="on"), "exactly one", id="both"),
        pytest.param(unchecked(access_string=" "), "empty", id="blank"),
        pytest.param(unchecked(access_string="on", keys=("a",)), "go with a preset", id="a-raw-string-with-keys"),
        pytest.param(unchecked(preset=Preset.READ_ONLY), "needs keys", id="no-keys"),
        pytest.param(unchecked(preset=Preset.ADMIN, keys=("a",)), "neither keys nor channels", id="admin-with-keys"),
        pytest.param(
            unchecked(preset=Preset.ADMIN, channels=("a",)), "neither keys nor channels", id="admin-with-channels"
        ),
        pytest.param(unchecked(preset=Preset.READ_ONLY, keys=("a +@all",)), "not a key pattern", id="a-rule-in-a-key"),
        pytest.param(unchecked(preset=Preset.READ_ONLY, keys=("",)), "not a key pattern", id="an-empty-key"),
        pytest.param(
            unchecked(preset=Preset.READ_WRITE, keys=("a",), channels=("a\t+@all",)),
            "not a channel pattern",
            id="a-rule-in-a-channel",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(access: Access, why: str):
    with pytest.raises(InvalidSpecError, match=why):
        render_access_string(access)
