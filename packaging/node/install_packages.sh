#!/usr/bin/env bash
# Installs what runs containers, out of Debian's packages, where it is missing; as root. No service of theirs is started,
# and nothing that is installed is removed for it: where Docker is, use kind instead and name its KUBECONFIG.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1  # asks the packages not to start their services

fail() {
  echo "error: $1" >&2
  exit 2
}

missing=()
need() { command -v "$1" >/dev/null || [ -x "$1" ] || missing+=("$2"); }
need containerd containerd
need runc runc
need /usr/lib/cni/bridge containernetworking-plugins
need ip iproute2
need unshare util-linux
for extra in "$@"; do need "$extra" "$extra"; done  # buildah, debootstrap
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || fail "${missing[*]} missing, and this isn't a Debian: set KUBECONFIG to a cluster that you have"
[ "$(id -u)" = 0 ] || fail "${missing[*]} missing; as root: apt-get install ${missing[*]}"
echo "==> ${missing[*]} (Debian's packages)"
apt-get update -qq || true  # a source that fails need not be the one that matters here
apt-get install -y -qq --no-remove --no-install-recommends "${missing[@]}" >/dev/null ||
  fail "apt-get can't install ${missing[*]} beside what is there; where Docker is, use kind and set KUBECONFIG"
