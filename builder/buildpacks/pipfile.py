"""Pipenv's repositories: Pipfile.lock, else Pipfile."""

from __future__ import annotations

from builder.buildpacks.draft import UV, Draft
from builder.buildpacks.python import warn_unpinned
from builder.pipfile import pipfile_python, render_lock, render_pipfile
from builder.plan import Kind
from builder.reading import Reading
from builder.runtime import Runtime


def draft(reading: Reading, runtime: Runtime) -> Draft | None:
    """Plan a repository with a Pipfile, unless runtime.txt names another language."""
    pipfile_path, lock_path = reading.find("Pipfile"), reading.find("Pipfile.lock")
    if runtime.name not in ("", "python") or not (pipfile_path or lock_path):
        return None
    lock = reading.json(lock_path, shapes=False) if lock_path else {}
    pipfile = reading.toml(pipfile_path, shapes=False) if pipfile_path else {}
    python = pipfile_python(reading, lock, pipfile)
    if lock_path:
        rendered = render_lock(reading, lock_path, lock)
    else:
        rendered = render_pipfile(reading, pipfile_path or "", pipfile)
    decided_by = lock_path or pipfile_path or ""
    warn_unpinned(reading, decided_by, rendered.unpinned, rendered.named)
    return Draft(Kind.PIPFILE, UV, decided_by, python, (rendered.install,), rendered.local)
