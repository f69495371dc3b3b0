#!/bin/sh
# Run postBuild, and say how it ended.
export PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
[ -x "$1" ] || chmod +x "$1"
"./$1"
code=$?
[ "$code" = 0 ] && exit 0
echo "$1 ended with exit code $code."
exit 66
