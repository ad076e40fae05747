"""Renders the chart for those who install with kubectl alone. Run by `make install-yaml`; `-` writes to stdout."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from elasticache_iam_sandbox.cluster.binaries import find_helm

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "elasticache-iam-operator"
TARGET = ROOT / "packaging" / "install.yaml"
NAME = "elasticache-iam-operator"
NAMESPACE = "elasticache-iam"

NO_OWNER = "SET-ME"
"""The operator refuses it: whoever forgot to edit it doesn't get another cluster's name."""

HEADER = f"""\
# Installs elasticache-iam-operator without Helm. `make install-yaml` renders it from charts/{NAME}.
#
# Edit your copy before `kubectl apply --server-side -f install.yaml`:
# - ConfigMap {NAME}-config, `owner: {NO_OWNER}`, which is none: this installation's name in AWS, 1 to 10
#   lower-case letters and digits, a letter first, and no other cluster's. Don't change it once there are resources.
#   The chart's values.yaml lists all settings.
# - Deployment, `image:`: the name that the image has in your registry.
# - ServiceAccount: for IRSA add the annotation eks.amazonaws.com/role-arn; Pod Identity needs none.
#
# For another namespace replace the Namespace's name, each `namespace: {NAMESPACE}`, and
# `system:serviceaccount:{NAMESPACE}:` in the four ValidatingAdmissionPolicies.
# After a later change of the ConfigMap: kubectl -n {NAMESPACE} rollout restart deployment/{NAME}
#
# Remove it by `kubectl delete -f install.yaml -l app.kubernetes.io/name={NAME}`, which leaves the
# CustomResourceDefinitions and the Namespace. NEVER WITHOUT -l: with the definitions all resources are deleted, and
# then their users and roles in AWS. See docs/operations/uninstall.md.
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""

# True only of what Helm itself installed.
HELMS_OWN = ("app.kubernetes.io/managed-by: Helm", "helm.sh/chart: ", "# Source: ")


def render(helm: Path) -> str:
    """Return the file's text.

    Args:
        helm: The program. It gets settings of its own, an empty folder: a maintainer's plugins mustn't matter.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = {f"HELM_{name}_HOME": folder for name in ("CACHE", "CONFIG", "DATA")}
        rendered = subprocess.run(
            [helm, "template", NAME, CHART, "--namespace", NAMESPACE, "-f", ROOT / "packaging" / "install-values.yaml"],
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    lines = [line.rstrip() for line in rendered.splitlines() if not line.strip().startswith(HELMS_OWN)]
    text = "\n".join(line for line in lines if line).replace("\n    owner: rendered\n", f"\n    owner: {NO_OWNER}\n")
    return f"{HEADER}{text}\n"


def main() -> None:
    """Write the file."""
    text = render(find_helm(lambda line: print(f"==> {line}", file=sys.stderr)))
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(text)
    else:
        TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
