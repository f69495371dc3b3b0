"""Making what JupyterLab brings along, and hardly ever uses, when it is first used: a seventh of the start of a server.

Standard library only. It runs in servers of every version and stands in their command line, so without apostrophes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any


class Later(types.ModuleType):
    """Something that is made when an attribute of it is asked for, other than those that are set before."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__("later")
        self.make = make

    def __getattr__(self, name: str) -> Any:
        if "made" not in self.__dict__:
            self.made = self.make()
        return getattr(self.made, name)


def import_jupyterlab() -> None:
    """Import JupyterLab without Requests, which serves lists of extensions that operators may keep."""

    def leave() -> None:
        if sys.modules.get("requests") is later:
            del sys.modules["requests"]

    def requests() -> types.ModuleType:
        leave()
        return importlib.import_module("requests")

    later = Later(requests)
    if importlib.util.find_spec("requests") is not None:
        sys.modules["requests"] = later
    try:
        importlib.import_module("jupyterlab.labapp")
    finally:
        leave()


def put_off_index() -> None:
    """Let the manager of extensions make its client of the package index, with all authorities, when it is asked."""
    manager: Any = sys.modules.get("jupyterlab.extensions.pypi")
    httpx: Any = getattr(manager, "httpx", None)
    if hasattr(httpx, "AsyncClient"):
        stand_in: Any = Later(lambda: httpx)
        stand_in.AsyncClient = lambda **options: Later(lambda: httpx.AsyncClient(**options))
        manager.httpx = stand_in
