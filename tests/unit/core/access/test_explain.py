"""Access strings in words."""

import pytest

from elasticache_iam.core.access import explain, find_catalogue


def test_every_part_has_a_line():
    assert explain("on %R~a* ~orders:* &events:* +@read -keys +info", catalogue=find_catalogue("valkey", "8.0")) == (
        "may log in",
        "keys: a* (read), orders:* (read and write)",
        "channels: events:*",
        "commands: all of @read, but not KEYS, and INFO",
        "these are 87 of 373 of valkey 8.0",
        (
            "not among them: FLUSHALL, FLUSHDB, SWAPDB, FUNCTION FLUSH, KEYS, CONFIG GET, CLIENT KILL, PING, SELECT,"
            " MULTI, CLUSTER SLOTS, COMMAND, ACL WHOAMI"
        ),
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("~a +get", "may not log in", id="neither-on-nor-off"),
        pytest.param("on +get", "keys: none", id="no-keys"),
        pytest.param("on ~* +get", "keys: all", id="all-keys"),
        pytest.param("on ~ +get", "keys: (the empty one) (read and write)", id="the-empty-key"),
        pytest.param("on allchannels", "channels: all", id="all-channels"),
        pytest.param("on ~a", "commands: none", id="no-commands"),
        pytest.param("on ~a +@all", "commands: all", id="all-commands"),
        pytest.param("on ~a -get +@read", "commands: all of @read", id="a-minus-of-nothing"),
        pytest.param("on ~a +get", "commands: GET", id="one-command"),
        pytest.param("on ~a +get", "these are 1 of 366 of redis 7.0, 1 of 373 of valkey 8.0", id="both-engines"),
        pytest.param("on (~b +get)", "or else, by (~b -@all +get):", id="a-selector"),
        pytest.param(
            "on get",
            "not understood: column 4: 'get' is unknown: write +get or -get for a command, ~get for a key",
            id="an-unknown-word",
        ),
    ],
)
def test_a_part_is_put_into_words(text: str, line: str):
    assert line in explain(text)


def test_no_password_is_explained():
    assert "hunter2" not in " ".join(explain("on >hunter2 ~a (~b #hunter2 +get) (<hunter2"))
