#!/bin/sh
# Run a command, through the repository's start script where there is one.
[ -z "${R2D_ENTRYPOINT:-}" ] || exec "$R2D_ENTRYPOINT" "$@"
exec "$@"
