#!/bin/sh
# Put the files of a folder in their places, and leave the folders that are there as they are.
set -eu
cd "$1"
find . -type f | while read -r file; do
    place=/${file#./}
    [ -d "$(dirname "$place")" ] || install -d -o 1000 -g 1000 "$(dirname "$place")"
    cp -p "$file" "$place"
    chown 1000:1000 "$place"
done
