"""`elasticache-iam lint` as CI calls it: findings with file and line, levels, SARIF, exit codes."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.builders import group_manifest, user_manifest

from elasticache_iam.cli.main import cli
from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.core.remarks import RULES
from elasticache_iam.runtime.manifest_files import MAX_CHARACTERS

ROOT = Path(__file__).resolve().parents[3]
USER = """\
apiVersion: elasticache-iam.dev/v1alpha1
kind: ElastiCacheIAMUser
metadata: {name: checkout, namespace: shop}
spec:
  groups: [{name: orders, namespace: platform}]
  access:
    accessString: "on ~orders:* +@read +@write"
  serviceAccounts: [checkout]
"""


def run(*arguments, stdin=None):
    return CliRunner().invoke(cli, ["lint", *map(str, arguments)], input=stdin)


def lint(folder, *manifests, options=()):
    """Return the remarks about manifests as documents."""
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(manifests), encoding="utf-8")
    return json.loads(run(path, "-o", "json", *options).stdout)


def codes(remarks):
    return [remark["code"] for remark in remarks]


# -- manifests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in (ROOT / "examples").glob("*/*.yaml")}))
def test_the_examples_have_no_errors(folder):
    path = ROOT / "examples" / folder

    result = run(path)

    assert result.exit_code == 0, result.output


def test_what_the_api_server_would_refuse_is_an_error_with_its_line(tmp_path):
    (remark,) = lint(tmp_path, user_manifest(access={"preset": "ReadWrite"}))

    assert (remark["level"], remark["code"]) == ("error", "invalid-field")
    assert remark["resource"] == "ElastiCacheIAMUser shop/checkout"
    assert remark["message"].startswith("spec.access")
    text = (tmp_path / "manifests.yaml").read_text().splitlines()
    assert "preset" in text[remark["line"] - 1]


def test_a_file_that_is_not_yaml_is_an_error_with_its_line(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: b\nc: [", encoding="utf-8")

    (remark,) = json.loads(run(tmp_path / "broken.yaml", "-o", "json").stdout)

    assert (remark["code"], remark["line"]) == ("not-yaml", 2)


def test_a_document_that_is_not_yaml_does_not_hide_the_errors_before_it(tmp_path):
    path = tmp_path / "manifests.yaml"
    path.write_text(f"{yaml.safe_dump(user_manifest(access={'preset': 'ReadWrite'}))}---\na: b\nc: [", encoding="utf-8")

    assert codes(json.loads(run(path, "-o", "json").stdout)) == ["invalid-field", "not-yaml"]


def test_a_folder_without_manifests_is_the_callers_fault(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "user.yaml").write_text(USER, encoding="utf-8")

    result = run(tmp_path)

    assert isinstance(result.exception, ConfigurationError)
    assert result.exception.message.startswith(f"no .yaml, .yml or .json file in {tmp_path}")


def test_a_folder_that_is_not_looked_into_is_an_error(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "group.yaml").write_text(yaml.safe_dump(group_manifest()), encoding="utf-8")
    (tmp_path / "below" / "user.yaml").write_text(yaml.safe_dump(user_manifest(access={})), encoding="utf-8")

    result = run(tmp_path, "-o", "json")

    (remark,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (remark["code"], remark["file"]) == ("not-read", str(tmp_path / "below"))
    assert "-R" in remark["message"]


def test_a_folder_is_looked_into_where_that_is_asked(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "user.yaml").write_text(
        yaml.safe_dump(user_manifest(access={"preset": "x"})), encoding="utf-8"
    )

    remarks = json.loads(run("-R", tmp_path, "-o", "json").stdout)

    assert {(remark["code"], remark["file"]) for remark in remarks} == {
        ("invalid-field", str(tmp_path / "below" / "user.yaml"))
    }


def hostile(folder):
    (folder / "zero.yaml").symlink_to("/dev/zero")
    (folder / "broken.yaml").symlink_to("nowhere")
    (folder / "round.yaml").symlink_to("round.yaml")
    (folder / "latin.yaml").write_bytes(b"a: \xe9\n")
    (folder / "long.yaml").write_bytes(b"#" * (MAX_CHARACTERS + 1))
    os.mkfifo(folder / "pipe.yaml")


def test_what_can_not_be_read_hides_nothing_else(tmp_path):
    hostile(tmp_path)
    (tmp_path / "deep.yaml").write_text("[" * 50_000, encoding="utf-8")
    (tmp_path / "digits.yaml").write_text(f"a: {'9' * 10_000}", encoding="utf-8")
    (tmp_path / "user.yaml").write_text(yaml.safe_dump(user_manifest(access={"preset": "ReadWrite"})), encoding="utf-8")

    remarks = json.loads(run(tmp_path, "-o", "json").stdout)

    assert {(Path(remark["file"]).stem, remark["code"]) for remark in remarks} == {
        *((name, "not-read") for name in ("zero", "broken", "round", "latin", "long", "pipe")),
        *((name, "not-yaml") for name in ("deep", "digits")),
        ("user", "invalid-field"),
    }


def test_a_device_is_not_read_though_it_is_named():
    (remark,) = json.loads(run("/dev/zero", "-o", "json").stdout)

    assert remark["code"] == "not-read"


def test_a_pipe_is_read_where_it_is_named(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, USER.encode())
    os.close(writing)

    remarks = json.loads(run(f"/dev/fd/{reading}", "-o", "json").stdout)
    os.close(reading)

    assert "wipes-data" in codes(remarks)


def test_a_misspelt_kind_is_an_error(tmp_path):
    assert codes(lint(tmp_path, {**user_manifest(), "kind": "ElastiCacheIAMUsr"})) == ["unknown-kind"]


def test_other_kinds_are_passed_over(tmp_path):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "checkout"}}

    assert lint(tmp_path, service) == []


def test_an_access_string_is_looked_at_where_it_stands(tmp_path):
    path = tmp_path / "user.yaml"
    path.write_text(USER, encoding="utf-8")

    remarks = json.loads(run(path, "-o", "json").stdout)

    wipes = next(remark for remark in remarks if remark["code"] == "wipes-data")
    assert (wipes["level"], wipes["line"]) == ("warning", 7)


def test_a_word_of_an_access_string_has_its_column(tmp_path):
    path = tmp_path / "user.yaml"
    path.write_text(USER.replace("+@write", "+nosuch"), encoding="utf-8")

    remarks = json.loads(run(path, "-o", "json").stdout)

    unknown = next(remark for remark in remarks if remark["code"] == "unknown-command")
    line = path.read_text().splitlines()[unknown["line"] - 1]
    assert line[unknown["column"] - 1 :].startswith("+nosuch")


def annotated(body, **annotations):
    body["metadata"]["annotations"] = {f"elasticache-iam.dev/{key}": value for key, value in annotations.items()}
    return body


@pytest.mark.parametrize("body", [user_manifest, group_manifest])
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("pause", "true", "unknown annotation of a .*; did you mean elasticache-iam.dev/paused?"),
        ("planOnly", "true", "unknown annotation of a .*; did you mean elasticache-iam.dev/plan-only?"),
        ("paused", "yes", 'must be "true" or "false", in quotes'),
        ("plan-only", "True", 'must be "true" or "false", in quotes'),
        ("paused", "", 'must be "true" or "false", in quotes'),
    ],
)
def test_an_annotation_that_the_operator_does_not_have_is_an_error(tmp_path, body, key, value, said):
    (remark,) = lint(tmp_path, annotated(body(), **{key: value}))

    assert remark["code"] == "unknown-annotation"
    assert re.match(f"metadata.annotations.elasticache-iam.dev/{key}: {said}", remark["message"])
    assert key in (tmp_path / "manifests.yaml").read_text().splitlines()[remark["line"] - 1]


def test_annotations_that_the_operator_has_are_none(tmp_path):
    user = annotated(user_manifest(), **{"paused": "false", "plan-only": "true", "refresh": "now"})

    assert lint(tmp_path, user, annotated(group_manifest(), paused="true")) == []
    assert codes(lint(tmp_path, annotated(group_manifest(), refresh="now"))) == ["unknown-annotation"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ nope }}", "the template of key 'app.yaml' uses nope; "),
        ("{% for x in y %}{% endfor %}", "the template of key 'app.yaml' "),
        ("{{ host | sort }}", "the template of key 'app.yaml' "),
        ("{{ host", "the template of key 'app.yaml' "),
    ],
    ids=["an-unknown-variable", "a-loop", "an-unknown-filter", "unclosed"],
)
@pytest.mark.parametrize("kind", ["secret", "configMap"])
def test_a_template_that_the_operator_refuses_is_an_error(tmp_path, kind, template, said):
    delivery = {kind: {"name": "settings", "template": {"a": "{{ host }}", "app.yaml": template, "z": "{{ port }}"}}}

    (remark,) = lint(tmp_path, user_manifest(delivery=delivery))

    assert (remark["code"], remark["message"][: len(said)]) == ("invalid-template", said)
    assert "app.yaml: " in (tmp_path / "manifests.yaml").read_text().splitlines()[remark["line"] - 1]


def test_a_template_that_speaks_of_a_token_is_wrong_in_a_config_map_only(tmp_path):
    template = {"name": "settings", "template": {"password": "{{ password }}"}}

    assert lint(tmp_path, user_manifest(delivery={"secret": template})) == []
    assert codes(lint(tmp_path, user_manifest(delivery={"configMap": template}))) == ["invalid-template"]


def test_templates_that_are_too_long_together_are_an_error(tmp_path):
    template = {f"key{number}": "{{ host }}" * 60 for number in range(8)}

    (remark,) = lint(tmp_path, user_manifest(delivery={"secret": {"template": template}}))

    assert remark["code"] == "invalid-template"


def test_a_template_of_a_secret_that_is_not_made_plays_no_part(tmp_path):
    delivery = {"mode": "None", "secret": {"template": {"a": "{{ nope }}"}}}

    assert lint(tmp_path, user_manifest(delivery=delivery)) == []


def test_a_user_that_its_group_does_not_admit_is_an_error(tmp_path):
    (remark,) = lint(tmp_path, group_manifest(admits=("web",)), user_manifest())

    assert remark["code"] == "not-admitted"
    assert "no admission rule of UserGroup platform/orders matches namespace shop" in remark["message"]


def test_a_user_that_its_group_admits_is_none(tmp_path):
    assert lint(tmp_path, group_manifest(), user_manifest()) == []


def test_a_group_that_is_not_there_is_not_judged(tmp_path):
    assert lint(tmp_path, user_manifest()) == []


def selecting_group():
    rule = {"namespaces": {"selector": {"matchLabels": {"team": "orders"}}}, "limit": {"preset": "Admin"}}
    return group_manifest(admits=(), admission=[rule])


def test_a_selector_is_judged_by_the_labels_that_come_along(tmp_path):
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "billing"}}}

    assert codes(lint(tmp_path, namespace, selecting_group(), user_manifest())) == ["not-admitted"]
    assert lint(tmp_path, selecting_group(), user_manifest()) == []


def test_a_cache_that_the_group_does_not_list_is_an_error(tmp_path):
    user = user_manifest(groups=[{"name": "orders", "namespace": "platform", "caches": ["sessions"]}])

    (remark,) = lint(tmp_path, group_manifest(), user)

    assert (remark["code"], remark["suggestion"]) == ("unknown-cache", "it has main")


def test_two_groups_on_one_cache_are_an_error(tmp_path):
    (remark,) = lint(tmp_path, group_manifest(), group_manifest("others"))

    assert remark["code"] == "cache-claimed"
    assert remark["message"] == "orders-prod is on the list of UserGroup platform/orders, too"


def test_two_users_with_one_secret_are_an_error(tmp_path):
    other = user_manifest("other", delivery={"secret": {"name": "checkout"}})

    assert codes(lint(tmp_path, user_manifest(), other)) == ["secret-claimed"]


def test_the_standard_input_is_read(tmp_path):
    result = run("-", "-o", "json", stdin=USER)

    assert {remark["file"] for remark in json.loads(result.stdout)} == {"standard input"}


def test_a_file_that_is_not_there_is_the_callers_fault(tmp_path):
    result = run(tmp_path / "nothing.yaml")

    assert isinstance(result.exception, ConfigurationError)


# -- access strings ----------------------------------------------------------------------------------------------------


def test_an_access_string_alone_is_checked():
    result = run("--access-string", "on ~orders:* +@all")

    assert result.exit_code == 0
    assert "warning[all-commands]: +@all with key patterns still reaches all keys" in result.output


def test_a_word_that_aws_refuses_is_an_error():
    result = run("--access-string", "on ~* +@read >secret")

    assert result.exit_code == 1
    assert "error[refused-word]" in result.output
    assert "secret" not in result.output


# -- what others wrote -------------------------------------------------------------------------------------------------


def test_a_manifest_gives_no_orders_to_a_ci_or_a_terminal(tmp_path):
    path = tmp_path / "user.yaml"
    body = {**user_manifest("check\x1b]0;owned\x07out", access={}), "spce": {}}
    body["metadata"]["namespace"] = "a\n::error::b ##[error]c"
    path.write_text(yaml.safe_dump(body), encoding="utf-8")

    result = run(path)

    assert "a\\x0a::error::b #\\x23[error]c/check\\x1b]0;owned\\x07out: " in result.stdout
    assert all(line.startswith(f"{path}:") and line.isprintable() for line in result.stdout.splitlines())


# -- the outside -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        pytest.param(
            "on ~* -@all +@read +@connection +@transaction -@dangerous +cluster|slots +command +acl|whoami",
            (),
            0,
            id="nothing",
        ),
        pytest.param("on ~* +@read", (), 0, id="a-warning"),
        pytest.param("on ~* +@read", ("--strict",), 1, id="a-warning-to-the-strict"),
        pytest.param("on ~* nonsense", (), 1, id="an-error"),
    ],
)
def test_the_exit_code_tells_of_errors(text, options, code):
    assert run("--access-string", text, *options).exit_code == code


def test_nothing_to_check_is_wrong_usage():
    assert run().exit_code == 2


def test_text_has_file_line_and_column_in_front(tmp_path):
    path = tmp_path / "user.yaml"
    path.write_text(USER, encoding="utf-8")

    result = run(path)

    assert f"{path}:7:" in result.stdout
    assert result.stderr.splitlines()[-1].endswith(("warning", "warnings"))


def test_sarif_names_rules_files_and_regions(tmp_path):
    path = tmp_path / "user.yaml"
    path.write_text(USER, encoding="utf-8")

    document = json.loads(run(path, "-o", "sarif").stdout)

    (sarif_run,) = document["runs"]
    rules = sarif_run["tool"]["driver"]["rules"]
    assert document["version"] == "2.1.0"
    assert sarif_run["results"]
    for result in sarif_run["results"]:
        (location,) = result["locations"]
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning"}
        assert result["message"]["text"].startswith("ElastiCacheIAMUser shop/checkout: ")
        assert location["physicalLocation"]["artifactLocation"]["uri"] == path.as_uri()
        assert location["physicalLocation"]["region"]["startLine"] >= 1


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("here/user.yaml", "here/user.yaml"),
        ("./here/../a b%20#?:ä.yaml", "a%20b%2520%23%3F%3A%C3%A4.yaml"),
        ("../beside.yaml", None),
    ],
    ids=["plain", "odd", "outside"],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_sarif_names_files_from_the_working_folder_on(tmp_path, monkeypatch, name, uri, absolute):
    work = tmp_path / "work"
    (work / "here").mkdir(parents=True)
    monkeypatch.chdir(work)
    (work / name).write_text(USER, encoding="utf-8")

    document = json.loads(run(work / name if absolute else name, "-o", "sarif").stdout)

    locations = document["runs"][0]["results"][0]["locations"]
    expected = uri or (tmp_path / "beside.yaml").as_uri()
    assert locations[0]["physicalLocation"]["artifactLocation"]["uri"] == expected


def test_sarif_without_findings_is_a_log_without_results(tmp_path):
    path = tmp_path / "group.yaml"
    path.write_text(yaml.safe_dump(group_manifest()), encoding="utf-8")

    document = json.loads(run(path, "-o", "sarif").stdout)

    assert document["runs"][0]["results"] == []


def test_every_finding_about_access_strings_has_a_rule():
    source = (ROOT / "operator" / "elasticache_iam" / "core" / "access" / "lint.py").read_text(encoding="utf-8")

    codes_there = set(re.findall(r'Finding\(\s*"([a-z-]+)"', source))

    assert len(codes_there) > 10
    assert codes_there <= set(RULES)
