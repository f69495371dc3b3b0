#!/bin/sh
# Make the server environment, with the system's Python (a path) or one that uv brings (a version).
set -eu
here=$(dirname "$0")
python=$1
case $python in
*/*) ;;
*)
    sh "$here/python.sh" "$python"
    python=$(uv python find --managed-python --no-python-downloads "$python")
    ;;
esac
UV_CACHE_DIR=/opt/bindery/cache exec "$python" -I /mnt/bindery/tools server /mnt/bindery/step
