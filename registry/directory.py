"""Images as directories: the image store of the process engine.

environments/<key>/   environment.json is written last: without it the directory is a leftover
servers/<id>/         the server environment, likewise
images/<name>/<tag>/  image.json is written last, likewise
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StoredImage:
    """An image of the directory store: everything that a session needs to start.

    `content` is a Git work tree to copy, `environment` a virtual environment that sessions may only read, `overlay` a
    virtual environment with what postBuild installed. `server` is the virtual environment JupyterLab runs from: the
    shared one, or `environment` itself when the two are joined. `start` is the start script's path in `content`.
    """

    reference: str
    content: Path
    environment: Path
    overlay: Path | None
    server: Path
    start: str | None
    environment_key: str
    labels: Mapping[str, str]
    size_bytes: int
    created_at: float

    @property
    def joined(self) -> bool:
        """Whether the repository's environment runs the server too."""
        return self.server == self.environment
