"""Showing an event stream in a terminal."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from rich.console import Console

from bindery.client import Refused
from bindery.errors import HostUnreachable
from bindery.terminal import plain

_STEPS = {
    "waiting": "Waiting",
    "fetching": "Fetching the repository",
    "building": "Building the environment",
    "pushing": "Storing the image",
    "built": "Image ready",
    "launching": "Starting the notebook server",
}


async def show(stream: AsyncGenerator[dict[str, Any], None], output: Console) -> dict[str, Any]:
    """Show a stream to its end; returns the `ready` event. Raises the error of the `failed` one."""
    step = ""
    with output.status("Asking the service...") as status:
        async with aclosing(stream) as events:
            async for event in events:
                phase = event.get("phase", "").lower()
                if phase == "ready":
                    return event
                if phase == "failed":
                    raise Refused.of(*(str(event.get(name, "")) for name in ("code", "message", "hint")))
                if phase in _STEPS and phase != step:
                    step = phase
                    status.update(f"{_STEPS[phase]}...")
                    output.print(f"[bold]{_STEPS[phase]}[/bold]")
                message = plain(event.get("message", "")).rstrip("\n")
                output.print(f"  {message}", markup=False, soft_wrap=True, style="dim")
    raise HostUnreachable("The service ended the stream without an answer.")
