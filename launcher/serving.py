"""What a container runs to serve notebooks: the best server that its image has, old ones too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from launcher import later

#: Where servers listen in their containers.
PORT = 8888

#: A server makes hundreds of thousands of objects while it is imported, and keeps them: looking for garbage among them
#: is a tenth of its start. In an image's own folder, a file called like a module must not be taken for one.
_STARTER = f"""\
{Path(later.__file__).read_text(encoding="utf-8")}
del sys.path[0]
import gc
gc.disable()
import_jupyterlab()
put_off_index()
gc.freeze()
gc.enable()
sys.argv[0] = "jupyter-lab"
sys.exit(sys.modules["jupyterlab.labapp"].main())
"""

#: Old servers know their options by another name, and no token that is in a file.
_SERVE = f"""\
if [ -r "$JUPYTER_TOKEN_FILE" ]; then
  JUPYTER_TOKEN=$(cat "$JUPYTER_TOKEN_FILE")
  export JUPYTER_TOKEN
fi
if lab=$(command -v jupyter-lab) && command -v jupyter-server >/dev/null; then
  IFS= read -r line < "$lab"
  case $line in
  *[[:space:]]*) ;;
  '#!'*/python*) if grep -q jupyterlab.labapp "$lab"; then exec "${{line#??}}" -c '{_STARTER}' "$@"; fi ;;
  esac
  exec jupyter-lab "$@"
fi
for option do
  case $option in --ServerApp.*) set -- "$@" "--NotebookApp.${{option#--ServerApp.}}" ;; esac
done
for server in jupyter-lab jupyter-notebook jupyter-server; do
  if command -v $server >/dev/null; then exec $server "$@"; fi
done
echo "This image has no Jupyter server: neither jupyter-lab nor jupyter-notebook is on its PATH." >&2
exit 127
"""


def serving(flags: Iterable[str]) -> list[str]:
    """The words that a container runs, for servers with these flags."""
    return ["/bin/sh", "-c", _SERVE, "serve", *flags]
