#!/usr/bin/env bash
# Puts promtool, out of Debian's package prometheus, into the cache folder where it is missing: nothing is installed, and
# no Prometheus starts. Prints its path.
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/elasticache-iam"
if found=$(command -v promtool || command -v "$cache/promtool/promtool"); then
  [ -t 1 ] || echo "$found"
  exit 0
fi

fail() {
  echo "error: promtool is missing ($1); get it with Prometheus: apt-get install prometheus (or: brew install prometheus)" >&2
  exit 2
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "this isn't a Debian"
echo "==> promtool (out of Debian's prometheus, 30 MB, once)" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if ! apt-get download -qq prometheus >&2; then
  [ "$(id -u)" = 0 ] || fail "apt knows no package prometheus; sudo apt-get update helps"
  apt-get update -qq >&2 || true
  apt-get download -qq prometheus >&2 || fail "apt can't download it"
fi
dpkg-deb --extract prometheus_*.deb package
mkdir -p "$cache/promtool"
mv package/usr/bin/promtool "$cache/promtool/promtool.new"
mv "$cache/promtool/promtool.new" "$cache/promtool/promtool"
echo "$cache/promtool/promtool"
