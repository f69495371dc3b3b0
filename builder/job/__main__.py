"""`python -m builder.job [FOLDER]`: carry out the order in FOLDER, and say how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from builder.job.order import FOLDER
from builder.job.records import Speaker
from builder.job.work import carry_out

_LAST_WORDS = Path("/dev/termination-log")


def main() -> int:
    """The exit code: 0 when the image is in its registry."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    return asyncio.run(_main(folder, Speaker(_write)))


async def _main(folder: Path, speaker: Speaker) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        verdict = await carry_out(folder, speaker.say)
    except asyncio.CancelledError:
        return 143
    await asyncio.to_thread(_keep, speaker.end(verdict))
    return 0 if verdict.reason is None else 1


def _keep(words: str) -> None:
    with contextlib.suppress(OSError):
        _LAST_WORDS.write_text(words, encoding="utf-8")


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
