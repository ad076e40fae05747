"""Writes packaging/argocd/argocd-cm.yaml, what Argo CD's ConfigMap needs, from the scripts beside it.

Run by `make argocd`; with `--check` it only says whether the file is fresh.
"""

import sys
from pathlib import Path

import yaml

from elasticache_iam.api.keys import (
    ANNOTATION_EXPIRES_AT,
    ANNOTATION_ISSUED_AT,
    GROUP,
    GROUP_KIND,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    USER_KIND,
)

ROOT = Path(__file__).resolve().parents[1]
ARGOCD = ROOT / "packaging" / "argocd"
TARGET = ARGOCD / "argocd-cm.yaml"
DISCOVERY = "discovery.lua"

HEADER = """\
# What Argo CD is to know about UserGroups and ElastiCacheIAMUsers: their health, actions on them, and that a new token is
# no news. Written by `make argocd` from the scripts beside it. To add it to what is in your ConfigMap:
#
#   kubectl -n argocd patch configmap argocd-cm --patch-file argocd-cm.yaml
#
# With Argo CD's chart the keys under `data` go to `configs.cm`. Argo CD takes them over at once.
"""


class Text(str):
    """A text of several lines, written as such."""


class Writer(yaml.SafeDumper):
    """Writes YAML as people do."""


Writer.add_representer(Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|"))


def actions(kind: str) -> Text:
    """Return a kind's actions, which are YAML in a ConfigMap's value."""
    folder = ARGOCD / "actions" / kind
    scripts = sorted(path for path in folder.glob("*.lua") if path.name != DISCOVERY)
    return _yaml(
        {
            DISCOVERY: Text((folder / DISCOVERY).read_text(encoding="utf-8")),
            "definitions": [
                {"name": path.stem, "action.lua": Text(path.read_text(encoding="utf-8"))} for path in scripts
            ],
        }
    )


def ignored_updates() -> Text:
    """Return what of a Secret changes without being news: of our Secrets alone."""
    ours = f'select(.metadata.labels["{LABEL_MANAGED_BY}"] == "{MANAGED_BY}")'
    stamps = (ANNOTATION_ISSUED_AT, ANNOTATION_EXPIRES_AT)
    return _yaml(
        {
            "jqPathExpressions": [f"{ours} | .data"],
            "jsonPointers": [f"/metadata/annotations/{stamp.replace('/', '~1')}" for stamp in stamps],
        }
    )


def rendered() -> str:
    """Return the file's text."""
    health = Text((ARGOCD / "health.lua").read_text(encoding="utf-8"))
    customizations = "resource.customizations"
    data: dict[str, Text] = {}
    for kind in (USER_KIND, GROUP_KIND):
        data[f"{customizations}.health.{GROUP}_{kind}"] = health
        data[f"{customizations}.actions.{GROUP}_{kind}"] = actions(kind)
    data[f"{customizations}.ignoreResourceUpdates.Secret"] = ignored_updates()
    return HEADER + _yaml({"data": data})


def _yaml(value: object) -> Text:
    return Text(yaml.dump(value, Dumper=Writer, sort_keys=False, width=1000))


def main() -> None:
    """Write the file."""
    text = rendered()
    if sys.argv[1:] == ["--check"]:
        is_fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        sys.exit(0 if is_fresh else f"{TARGET.relative_to(ROOT)} isn't fresh: make argocd")
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
