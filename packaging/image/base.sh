#!/usr/bin/env bash
# Makes two base images out of Debian's packages, for machines that reach a Debian mirror but no image registry, as root:
#
#   base.sh FOLDER    writes FOLDER/build.tar (a small Debian with Python's venv) and FOLDER/runtime.tar (Python and the
#                     libraries it needs: no shell, no package manager, nothing else that runs)
#
# They have what the mirror has: the packages of Debian's newest point release. DEBIAN_MIRROR names another one, as
# http://snapshot.debian.org/archive/debian/20260131T000000Z for those of a day that is past.
set -euo pipefail

folder=$1
suite=bookworm # its Python is 3.11: see the Dockerfile

# What the runtime has. Left out of what Python's standard library asks for: what serves dbm, curses, readline, sqlite3.
runtime=(base-files libbz2-1.0 libc6 libcrypt1 libexpat1 libffi8 libgcc-s1 liblzma5 libpython3.11-minimal libpython3.11-stdlib
  libssl3 libuuid1 python3-minimal python3.11-minimal zlib1g)

fail() {
  echo "error: $1" >&2
  exit 2
}

[ "$(id -u)" = 0 ] || fail "making a base image needs root; or name one: make image BASE=…"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap; or name a base: make image BASE=…"

# apt's own reading of its sources, whichever form they are written in; elsewhere than on such a Debian the usual mirror.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" 'Component: main' 'Created-By: Packages' 2>/dev/null | head -n 1 || true)}

mkdir -p "$folder"
work=$(mktemp -d "$folder/partial.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
debootstrap --variant=minbase --include=ca-certificates,python3-venv "$suite" "$root" ${mirror:+"$mirror"} >"$folder/debootstrap.log" 2>&1 ||
  fail "debootstrap failed; $folder/debootstrap.log ends with: $(tail -n 3 "$folder/debootstrap.log")"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*

small=$work/small
mkdir -p "$small"/{dev,etc/ssl/certs,home,proc,run,sys,tmp,var/lib/dpkg/status.d,var/tmp}
chmod 1777 "$small"/tmp "$small"/var/tmp
cp -a "$root"/{bin,lib,lib64,sbin} "$small/" # links into usr/
for package in "${runtime[@]}"; do
  list=$(ls "$root/var/lib/dpkg/info/$package.list" "$root/var/lib/dpkg/info/$package":*.list 2>/dev/null | head -n 1) || true
  [ -n "$list" ] || fail "debootstrap brought no package $package"
  # Files by their true place: /lib is a link to usr/lib. Of the documentation only the licences.
  sed -E 's#^/(bin|lib|lib64|sbin)(/|$)#/usr/\1\2#; s#^/##' "$list" |
    grep -vP '^usr/share/(base-files|binfmts|doc/[^/]*/(?!copyright)|doc-base|info|lintian|locale|man|pixmaps|python3)|^usr/bin/py3|/gconv/|python3.11/(ensurepip|idlelib|lib2to3|pydoc_data|test|tkinter)/|^(usr/)?(bin|lib|lib64|sbin)$|^\.$' |
    while read -r path; do if [ -f "$root/$path" ] || [ -L "$root/$path" ]; then echo "$path"; fi; done |
    tar -C "$root" --create --no-recursion --files-from - | tar -C "$small" --extract
  # As distroless images have it, for scanners.
  awk -v wanted="Package: $package" 'BEGIN {RS = ""} index($0 "\n", wanted "\n") == 1' "$root/var/lib/dpkg/status" >"$small/var/lib/dpkg/status.d/$package"
done
cp -L "$root/etc/ssl/certs/ca-certificates.crt" "$small/etc/ssl/certs/"
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n' >"$small/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$small/etc/group"
printf 'hosts: files dns\npasswd: files\ngroup: files\n' >"$small/etc/nsswitch.conf"
rm -rf "$small"/var/lib/dpkg/info

pack() { tar -C "$1" --create --sort=name --numeric-owner --mtime=@0 --exclude=./dev/* --file "$2.partial" . && mv "$2.partial" "$2"; }
chroot "$small" /usr/bin/python3 -c 'import asyncio, bz2, ctypes, hashlib, lzma, ssl, uuid, zlib' || fail "the runtime base lacks a library"
find "$small" "$root" -name __pycache__ -prune -exec rm -rf {} +
pack "$root" "$folder/build.tar"
pack "$small" "$folder/runtime.tar"
