#!/bin/sh
# Install Debian packages, and no more than they need. Package lists and archives are in caches of the build.
set -eu
export DEBIAN_FRONTEND=noninteractive
stamp=/var/cache/apt/bindery-updated
ca=/run/secrets/bindery-ca
rm -f /etc/apt/apt.conf.d/docker-clean
apt() {
    set -- -qq -o APT::Keep-Downloaded-Packages=true -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@"
    # A build that is cut off is thrown away: nothing is gained by waiting for the disk after every file.
    set -- -o Dpkg::Options::=--force-unsafe-io "$@"
    [ ! -f "$ca" ] || set -- -o "Acquire::https::CaInfo=$ca" "$@"
    apt-get "$@" </dev/null
}
update() {
    apt update
    touch "$stamp"
}
install() {
    apt install -y --no-install-recommends -- "$@" >"$log" 2>&1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Installing system packages: $*"
if [ -z "$(find "$stamp" -mmin -60 2>/dev/null)" ] || [ -z "$(ls /var/lib/apt/lists 2>/dev/null)" ]; then
    update
    install "$@" || { cat "$log"; exit 1; }
else
    # Lists of the last hour are taken first: the mirror may have moved on since.
    install "$@" || { update; install "$@"; } || { cat "$log"; exit 1; }
fi
