"""Another site, such as a journal's: pages and scripts on an origin of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web


@dataclass
class Journal:
    """`pages` are HTML by path; `folders` are served at the root, the first that has a file wins."""

    url: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.path in self.pages:
            return web.Response(text=self.pages[request.path], content_type="text/html", headers=self.headers)
        for folder in self.folders:
            path = (folder / request.path.lstrip("/")).resolve()
            if path.is_relative_to(folder) and path.is_file():
                return web.FileResponse(path)
        return web.Response(status=404)


@contextlib.asynccontextmanager
async def journal(pages: Mapping[str, str] | None = None) -> AsyncIterator[Journal]:
    """The site on a free port of this machine."""
    site = Journal(pages=dict(pages or {}))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield site
    finally:
        await runner.cleanup()
