#!/usr/bin/env bash
# A Memcached for the tests, unpacked into .tools from this Debian's own packages: no root, nothing installed.
# The tests skip what needs one where this does not work.
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v memcached || [ -x .tools/usr/bin/memcached ]; then exit 0; fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tools=$PWD/.tools
cd "$folder"
timeout 60 apt-get download memcached "$(apt-cache pkgnames libevent-2.1-7 | sort | tail -n 1)"
for package in *.deb; do dpkg -x "$package" unpacked; done
mkdir -p "$tools"
cp -a unpacked/. "$tools"
