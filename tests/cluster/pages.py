"""Pages of docs/ whose commands are run as they stand there: only names that tests share a cluster by are others."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from tests.cluster.ground import EXAMPLES, PLURALS, ROOT

from elasticache_iam_sandbox.cluster.binaries import find_binaries

DOCS = ROOT / "docs"
PATIENCE = "60s"
"""How long a page's `kubectl wait` waits here: AWS's minutes are moments in the sandbox."""
PAGE_S = 120
"""How long all commands under a heading may take."""


class Page:
    """The commands of one page, by the headings they stand under.

    Args:
        ground: Whose namespaces, account and owner are meant.
        path: The page, from docs/.
        names: More names in commands and manifests, and what they are here.
        environment: Variables that the page says are set, besides OWNER.
    """

    def __init__(self, ground, path, *, names=None, environment=None):
        self._ground = ground
        self._names = names or {}
        self._variables = environment or {}
        text = (DOCS / path).read_text(encoding="utf-8")
        parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)[1:]
        self._sections = dict(zip(parts[::2], parts[1::2], strict=True))
        self.commands = {
            heading: commands
            for heading, section in self._sections.items()
            if (commands := "".join(re.findall(r"^```sh\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)))
        }
        self._left = list(self.commands)
        self._folder = ground.folder / Path(path).stem
        self._copy_examples()

    def follow(self, heading, *, key=None):
        """Run the commands under the next heading and return what they print; one that fails is the test's failure.

        Args:
            heading: Its beginning, as "1." or more of it. Nothing with commands before it may be left out.
            key: Whose access key the AWS CLI uses, if not the administrator's of the ground's account.
        """
        found = self._left.pop(0)
        assert found.startswith(heading), f"{found} comes before {heading}"
        commands = re.sub(r"--timeout=\S+", f"--timeout={PATIENCE}", self._localise(self.commands[found]))
        try:
            done = subprocess.run(  # noqa: S603  # our own page
                ["/bin/bash", "-euo", "pipefail", "-c", commands],
                env=self._environment(key or self._ground.account.admin),
                cwd=self._folder,
                capture_output=True,
                text=True,
                check=True,
                timeout=PAGE_S,
            )
        except subprocess.SubprocessError as error:
            said = (text if isinstance(text, str) else (text or b"").decode() for text in (error.stdout, error.stderr))
            raise AssertionError("\n".join([found, *said, *self._conditions()])) from error
        return done.stdout

    def skip(self, heading):
        """Leave out what the ground has done already: its commands start what stands here."""
        assert self._left.pop(0).startswith(heading)

    def settings(self, heading):
        """Return the YAML under a heading."""
        (section,) = [section for found, section in self._sections.items() if found.startswith(heading)]
        (block,) = re.findall(r"^```yaml\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)
        return yaml.safe_load(self._localise(block))

    def check_all_followed(self):
        assert self._left == []

    def _conditions(self):
        """Yield what stands in the way of all resources that aren't Ready."""
        for plural, namespace in itertools.product(PLURALS, self._ground.namespaces):
            listed = self._ground.control_plane.request("GET", self._ground.path(plural, "", namespace).rstrip("/"))
            for item in listed["items"]:
                for condition in item["status"].get("conditions", ()):
                    if condition["status"] != "True":
                        shown = (condition[key] for key in ("type", "status", "reason", "message"))
                        yield f"{item['metadata']['name']}: {' '.join(shown)}"

    def _environment(self, key):
        programs = (find_binaries(print).kubectl.parent, Path(sys.executable).parent)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KUBE"))}
        return {
            **kept,
            **self._ground.sandbox.env(key),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_PAGER": "",
            "KUBECACHEDIR": str(self._ground.control_plane.state_dir / "kubectl-cache"),
            "KUBERC": "off",
            "OWNER": self._ground.owner,
            "PATH": os.pathsep.join(map(str, (*programs, kept["PATH"]))),
            **self._variables,
        }

    def _localise(self, text):
        for name, ours in self._ground.namespaces.items():
            text = re.sub(rf"(-n |/|namespaces: \[){name}\b(?![-.])", rf"\g<1>{ours}", text)
        for name, ours in self._names.items():
            text = text.replace(name, ours)
        return text

    def _copy_examples(self):
        """Put the examples where the commands look for them, in this test's namespaces."""
        for path in EXAMPLES.rglob("*.*"):
            target = self._folder / "examples" / path.relative_to(EXAMPLES)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".yaml":
                documents = [self._ground.localise(document) for document in yaml.safe_load_all(text)]
                for document in documents:
                    if document["kind"] == "Namespace":
                        name = document["metadata"]["name"]
                        document["metadata"]["name"] = self._ground.namespaces.get(name, name)
                text = self._localise(yaml.safe_dump_all(documents))
            target.write_text(text, encoding="utf-8")
