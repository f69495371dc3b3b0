#!/bin/sh
# What every image has: a few programs, uv, the user of every session, and places for the rest.
set -eu
user=$1 home=$2 folder=$3
shift 3
here=$(dirname "$0")
# Where the system can compile, packages for its own Python can be compiled too.
headers=$(command -v gcc >/dev/null && echo python3-dev || true)
# shellcheck disable=SC2086
sh "$here/apt.sh" bash ca-certificates curl git less procps python3 python3-venv unzip $headers "$@"
sh "$here/user.sh" "$user" "$home"
install -d -o 1000 -g 1000 "$home" "$folder" /srv/env
install -d /opt/bindery/bin /opt/bindery/cache /mnt/bindery
if [ -f "$here/uv" ]; then
    install -m 755 "$here/uv" /opt/bindery/bin/uv
    install -m 755 "$here/entrypoint.sh" /opt/bindery/bin/entrypoint
    # Debian's /etc/profile sets PATH anew, and terminals are login shells.
    printf 'export PATH="%s"\n' "$PATH" >/etc/profile.d/bindery.sh
fi
rm -rf /var/log/apt /var/log/dpkg.log
