#!/bin/sh
# Bring a Python into the image.
set -eu
. "$(dirname "$0")/settings.sh"
UV_PYTHON_DOWNLOADS=manual UV_CACHE_DIR=/opt/bindery/cache uv python install --no-bin --no-progress "$1"
