"""Alert rules and dashboard: promtool runs the rules' own tests, and both use only metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from elasticache_iam.runtime.metrics import Metrics

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "charts" / "elasticache-iam-operator" / "files" / "monitoring"
PAGE = ROOT / "docs" / "alerts.md"


@pytest.fixture(scope="module")
def promtool():
    """Return the program; the script fails, and says how to get it, where it can't be had."""
    script = ROOT / "packaging" / "install_promtool.sh"
    answer = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603  # ours
    return answer.stdout.strip()


def run(promtool, *arguments):
    """Return the exit code and all that it says."""
    answer = subprocess.run([promtool, *arguments], check=False, capture_output=True, text=True)  # noqa: S603  # as above
    return answer.returncode, answer.stdout + answer.stderr


def names_of_metrics():
    found = set()
    for metric in Metrics(version="0").registry.collect():
        name = metric.name
        found |= {f"{name}_total"} if metric.type == "counter" else {name}
        found |= (
            {f"{name}{suffix}" for suffix in ("_bucket", "_sum", "_count")} if metric.type == "histogram" else set()
        )
    return found


def rules():
    return yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]


def expressions():
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def test_the_alerts_fire_when_they_should_and_are_silent_otherwise(promtool, tmp_path):
    shutil.copy(MONITORING / "alerts.yaml", tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yaml"), tmp_path)

    for arguments in (("check", "rules", tmp_path / "alerts.yaml"), ("test", "rules", tmp_path / "alerts_test.yaml")):
        code, said = run(promtool, *arguments)
        assert code == 0, said


def test_each_alert_is_tested():
    text = Path(__file__).with_name("alerts_test.yaml").read_text(encoding="utf-8")
    fired = {
        entry["alertname"]
        for test in yaml.safe_load(text)["tests"]
        for entry in test["alert_rule_test"]
        if entry.get("exp_alerts")
    }

    assert fired == {rule["alert"] for rule in rules()}


def test_rules_and_dashboard_use_only_metrics_that_there_are():
    used = {name for expression in expressions() for name in re.findall(r"elasticache_iam_\w+", expression)}

    assert used <= names_of_metrics()
    assert len(used) > 10


def test_each_alert_has_its_page():
    titles = re.findall(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert titles == [rule["alert"] for rule in rules()]
    assert [rule["annotations"]["runbook_url"] for rule in rules()] == [
        f"docs/alerts.md#{name.lower()}" for name in titles
    ]
