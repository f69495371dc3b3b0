"""Static files: read once, named with a hash of their content, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".ico": "image/x-icon"}
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """One static file."""

    content: bytes
    media_type: str
    digest: str

    def answer(self, request: Request, cache: str) -> Response:
        """The file, or 304 when the browser has it already."""
        headers = {"ETag": f'"{self.digest}"', "Cache-Control": cache, "X-Content-Type-Options": "nosniff"}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def asset(content: bytes, media_type: str) -> Asset:
    """A static file from memory."""
    return Asset(content, media_type, hashlib.sha256(content).hexdigest()[:16])


def load() -> dict[str, Asset]:
    """Every file of the static folder, by name."""
    return {
        path.name: asset(path.read_bytes(), _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "")
        for path in sorted(_FOLDER.iterdir())
        if path.is_file()
    }


def cache_control(found: Asset, version: str | None) -> str:
    """For ever when the address names this very content; else ask again each time."""
    return _FOREVER if version == found.digest else "no-cache"
