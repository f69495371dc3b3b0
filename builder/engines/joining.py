"""When a repository's environment has to run the server too: it has a server, or what extends one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

#: Packages that are a Jupyter server, or plug into one. What depends on one of the first three is caught by them.
SERVER_PACKAGES = frozenset(
    {
        *("jupyter-server", "jupyterlab", "notebook", "nbclassic", "jupyter", "jupyterhub"),
        *("voila", "nbgitpuller", "jupyter-server-proxy", "jupyter-resource-usage", "nbresuse", "jupyter-contrib-core"),
        *("jupyter-contrib-nbextensions", "jupyter-nbextensions-configurator", "jupyter-lsp", "jupyterlab-lsp"),
        *("jupyterlab-git", "jupytext", "dask-labextension", "jupyter-collaboration", "jupyter-server-ydoc"),
        *("jupyter-offlinenotebook", "jupyter-ai", "jupyterlab-latex", "jupyterlab-github", "elyra", "rise", "nbdime"),
        *("jupyter-tensorboard", "ipyparallel", "nbserverproxy"),
    }
)
#: Names of packages that put another program behind the server.
SERVER_NAMES = re.compile(r"jupyter-.+-proxy|jupyter-.+-server|nb.+proxy")
#: Commands of a postBuild that change the server.
SERVER_COMMANDS = re.compile(
    r"\bjupyter[ -](lab|labextension|server|serverextension|nbextension|contrib|notebook|nbclassic|bundlerextension)\b"
)
#: Where a package that extends the server says so.
EXTENSION_FOLDERS = ("etc/jupyter/jupyter_server_config.d", "etc/jupyter/jupyter_notebook_config.d")

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def package_names(lock: str) -> set[str]:
    """Normalised names of the packages in the lines of a requirements file."""
    found = (_NAME.match(line) for line in lock.splitlines())
    return {normalized(match[1]) for match in found if match}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def asks_for_server(names: Iterable[str]) -> bool:
    """Whether one of these packages needs to live in the server's environment."""
    return any(name in SERVER_PACKAGES or SERVER_NAMES.fullmatch(name) for name in names)


def extends_server(environment: Path) -> bool:
    """Whether something in an environment configures itself as an extension of the server."""
    folders = (environment / folder for folder in EXTENSION_FOLDERS)
    return any(file.suffix == ".json" for folder in folders if folder.is_dir() for file in folder.iterdir())
