#!/bin/sh
# Programs that the tests use beside Python and Git: installed where that is possible, else the tests say what they miss.
set -eu

missing=""
command -v git >/dev/null || missing="$missing git"
command -v bwrap >/dev/null || missing="$missing bubblewrap"
command -v npm >/dev/null || missing="$missing npm"
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium"
command -v dockerd >/dev/null || missing="$missing docker.io"
command -v docker-registry >/dev/null || missing="$missing docker-registry"
command -v debootstrap >/dev/null || missing="$missing debootstrap"
command -v skopeo >/dev/null || missing="$missing skopeo"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing="$missing postgresql"
command -v iptables >/dev/null || missing="$missing iptables"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing fonts-dejavu-core >/dev/null
else
    echo "Not installed, so some tests will skip:$missing"
fi
