#!/usr/bin/env bash
# Installs the programs behind the sandbox's caches, redis-server and valkey-server, where they are missing and this is
# a Debian (or Ubuntu) with root; elsewhere it says what to install. Nothing is done where both are there.
#
# Debian 12 has valkey-server in its backports alone. These are added as a source of their own, with the mirror that apt
# uses already; apt takes from backports only what no other source has (they have priority 100).
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1  # asks the packages not to start their services: the sandbox starts servers of its own

is_missing() { ! command -v "$1" >/dev/null; }

fail() {
  echo "error: $1 is missing; install it: apt-get install $1 (or: brew install ${1%-server})$2" >&2
  exit 2
}

has_candidate() {
  local candidate
  candidate=$(apt-cache policy "$1" | sed -n 's/^ *Candidate: //p')
  [ -n "$candidate" ] && [ "$candidate" != "(none)" ]
}

add_backports() {
  local codename mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  codename=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || return 1
  # apt's own reading of its sources, whichever form they are written in.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $codename" 'Component: main' 'Created-By: Packages' | head -n 1)
  [ -n "$codename" ] && [ -n "$mirror" ] || return 1
  {
    echo "Types: deb"
    echo "URIs: $mirror"
    echo "Suites: $codename-backports"
    echo "Components: main"
    if [ -e "$keyring" ]; then echo "Signed-By: $keyring"; fi
  } >"/etc/apt/sources.list.d/$codename-backports.sources"
  if ! apt-get update -qq; then
    rm "/etc/apt/sources.list.d/$codename-backports.sources"
    return 1
  fi
}

missing=()
for program in redis-server valkey-server; do
  if is_missing "$program"; then missing+=("$program"); fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  for program in "${missing[@]}"; do
    case $program in
      valkey-server) fail "$program" "; on Debian 12 it is in bookworm-backports" ;;
      *) fail "$program" "" ;;
    esac
  done
fi

echo "==> ${missing[*]} (Debian's packages)"
apt-get update -qq || true  # a source that fails need not be the one that matters here
for program in "${missing[@]}"; do
  if ! has_candidate "$program"; then
    { add_backports && has_candidate "$program"; } || fail "$program" "; no source of apt has it, nor has Debian's backports"
  fi
  apt-get install -y -qq "$program" >/dev/null
done
