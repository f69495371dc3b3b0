"""A terminal that programs run in, and that can be closed under them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self


class Terminal:
    """A window with one program in it: leaving the block closes it. `output` is what is shown."""

    async def __aenter__(self) -> Self:
        window, self._inside = os.openpty()
        self.output = asyncio.StreamReader()
        self._window, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.output), os.fdopen(window, "rb", 0)
        )
        return self

    async def run(self, words: Sequence[str], environment: Mapping[str, str]) -> asyncio.subprocess.Process:
        """Start the program, as one that hears of the window's end."""
        inside = self._inside
        return await asyncio.create_subprocess_exec(
            *("setsid", "--ctty", *words), env=dict(environment), stdin=inside, stdout=inside, stderr=inside
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._inside)
        self._window.close()
