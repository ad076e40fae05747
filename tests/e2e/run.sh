#!/usr/bin/env bash
# Runs the end-to-end tests: in the cluster that KUBECONFIG names, with the images IMAGE and CLIENT_IMAGE that its nodes
# have (`make image clients`), and NODE_ADDRESS, an address of this machine that its pods reach; without both, on a
# node that it makes here.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
images=.state/images
tests=("$python" -m pytest --maxfail=4 -q --durations=25 tests/e2e "$@")
export CLIENT_IMAGE=${CLIENT_IMAGE:-elasticache-iam-example-client:e2e}

if [ -n "${IMAGE:-}" ]; then
  : "${KUBECONFIG:?names the cluster that has $IMAGE and $CLIENT_IMAGE ($images/client.tar)}"
  : "${NODE_ADDRESS:?is an address of this machine that the pods of that cluster reach}"
  exec "${tests[@]}"
fi

if [ -n "${KUBECONFIG:-}" ]; then
  echo "error: KUBECONFIG is set and IMAGE isn't: say which image of that cluster's nodes to test, or unset KUBECONFIG for a node made here" >&2
  exit 2
fi
packaging/node/install_packages.sh buildah debootstrap
BUILDER=buildah "$python" packaging/image/build.py # the image of a release
IMAGE=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["image"])' "$images/operator.json")
export IMAGE
# Built before there is no network.
"$python" -c 'from elasticache_iam_sandbox.cluster.binaries import find_helm; find_helm(lambda line: print(f"==> {line}", flush=True))'
NODE_LOGS=.state/e2e/logs exec "$python" packaging/node/node.py --image "$images/operator.tar" --image "$images/client.tar" -- "${tests[@]}"
