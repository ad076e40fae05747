"""The chart and the program that renders it."""

import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "elasticache-iam-operator"
VARIANTS = sorted((CHART / "ci").glob("*-values.yaml"))


def with_defaults(values, defaults=None):
    """Return values as Helm gives them to the chart: merged over its defaults."""
    if defaults is None:
        defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    both = {key: with_defaults(values[key], defaults[key]) for key in values if isinstance(defaults.get(key), dict)}
    return {**defaults, **values, **both}


class Helm:
    """helm with settings of its own, so that the machine's plugins and repositories don't matter."""

    def __init__(self, program, settings, kubeconfig=None):
        self._program = program
        self._environment = os.environ | {f"HELM_{name}_HOME": str(settings) for name in ("CACHE", "CONFIG", "DATA")}
        self._environment["KUBECONFIG"] = str(kubeconfig or settings / "none")

    def __call__(self, *arguments, check=True):
        answer = subprocess.run(  # noqa: S603  # the helm that the fixture found
            (self._program, *arguments), env=self._environment, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0 or not check, answer.stderr
        return answer

    def template(self, *arguments):
        rendered = self("template", "r", CHART, "--namespace", "operators", *arguments).stdout
        return [document for document in yaml.safe_load_all(rendered) if document]
