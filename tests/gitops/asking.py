"""Asks the program of engine/main.go, which has Argo CD's and kstatus' own code."""

import json
import os
import runpy
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def argocd_data():
    """Return what packaging/argocd adds to Argo CD's ConfigMap."""
    return yaml.safe_load((ROOT / "packaging" / "argocd" / "argocd-cm.yaml").read_text(encoding="utf-8"))["data"]


class Engine:
    """Asks one thing after another. A context: the program ends with it.

    Args:
        time_zone: Where the program believes to be.
    """

    def __init__(self, time_zone="UTC"):
        program = runpy.run_path(str(ROOT / "packaging" / "build_gitops_engine.py"))["find_engine"]()
        self._process = subprocess.Popen(  # noqa: S603  # ours
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"TZ": time_zone}, text=True
        )

    def __enter__(self):
        self.configure(argocd_data())
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def ask(self, do, **arguments):
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def configure(self, data):
        """Give Argo CD another ConfigMap."""
        self.ask("configure", data=data)

    def health(self, resource):
        """Return what Argo CD shows beside a resource."""
        answer = self.ask("health", object=resource)
        return answer["status"], answer.get("message", "")

    def actions(self, resource):
        """Return the actions that Argo CD offers on a resource, and whether each may be used now."""
        return {action["name"]: not action.get("disabled", False) for action in self.ask("actions", object=resource)}

    def is_out_of_sync(self, live, desired):
        """Return whether Argo CD finds a resource to differ from what stands in Git."""
        return self.ask("diff", object=live, desired=desired)["modified"]
