#!/bin/sh
# The user of every session: its name, number 1000, its home without any file in it.
set -eu
name=$1 home=$2
old_group=$(getent group 1000 | cut -d: -f1 || true)
if [ -n "$old_group" ]; then
    [ "$old_group" = "$name" ] || groupmod --new-name "$name" "$old_group"
else
    groupadd --gid 1000 "$name"
fi
old_user=$(getent passwd 1000 | cut -d: -f1 || true)
if [ -n "$old_user" ]; then
    usermod --login "$name" --home "$home" --shell /bin/bash --gid 1000 "$old_user"
else
    useradd --uid 1000 --gid 1000 --home-dir "$home" --no-create-home --shell /bin/bash "$name"
fi
