"""Repositories whose own file describes the whole environment: a Dockerfile, or default.nix."""

from __future__ import annotations

from builder.buildpacks.draft import NO_PYTHON, Draft
from builder.plan import Kind
from builder.reading import Reading, invalid


def draft_dockerfile(reading: Reading) -> Draft | None:
    """Plan a repository with a Dockerfile: it is built as it is, and nothing else counts."""
    _refuse_legacy(reading)
    path = reading.find("Dockerfile")
    if path is None:
        return None
    reading.use(path)
    return Draft(Kind.DOCKERFILE, "DockerBuildPack", path, NO_PYTHON, needs_tree=True, extras=False)


def draft_nix(reading: Reading) -> Draft | None:
    """Plan a repository with a default.nix."""
    path = reading.find("default.nix")
    if path is None:
        return None
    reading.use(path)
    return Draft(Kind.NIX, "NixBuildPack", path, NO_PYTHON, needs_tree=True)


def _refuse_legacy(reading: Reading) -> None:
    """The first Binder's Dockerfiles are refused, with a configuration folder or without."""
    path = "Dockerfile"
    if not reading.tree.is_file(path):
        return
    for number, line in enumerate(reading.use(path).decode(errors="replace").splitlines(), 1):
        if line.startswith("FROM"):
            if "andrewosh/binder-base" in line.partition("#")[0].lower():
                hint = "Replace the Dockerfile by an environment.yml or a requirements.txt."
                raise invalid(path, "the base image of the first Binder is gone", line=number, text=line, hint=hint)
            break
    if reading.folder:
        reading.files.remove(path)
        del reading.contents[path]
