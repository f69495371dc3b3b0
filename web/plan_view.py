"""A plan in words: what a build does, one sentence a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from builder.plan import Kind, Source
from web.languages import N_, Language

KIND_NAMES: Mapping[str, str] = {
    Kind.PYTHON: N_("Python packages"),
    Kind.PIPFILE: N_("Python packages of a Pipfile"),
    Kind.CONDA: N_("Conda environment"),
    Kind.R: N_("R packages"),
    Kind.JULIA: N_("Julia packages"),
    Kind.NIX: N_("Nix environment"),
    Kind.DOCKERFILE: N_("Dockerfile"),
}
_INSTALLS: Mapping[str, str] = {
    Source.FILES: N_("The packages that %(files)s names are installed, with what they need."),
    Source.TEXT: N_("The packages that the dependency files name are installed, with what they need."),
    Source.UV_LOCK: N_("The packages that %(files)s locks are installed, exactly those versions."),
    Source.PYLOCK: N_("The packages that %(files)s locks are installed, exactly those versions."),
    Source.PROJECT: N_("The repository is itself a package, and is installed."),
}
_PYTHON = frozenset({Kind.PYTHON.value, Kind.PIPFILE.value})

Plan = Mapping[str, Any]


def steps(plan: Plan, language: Language) -> Sequence[str]:
    """What a build of the plan does, in order."""
    return list(_steps(plan, language.gettext))


def _steps(plan: Plan, _: Callable[[str], str]) -> Iterator[str]:
    if plan["kind"] == Kind.DOCKERFILE:
        yield _("The repository's own Dockerfile is built as it is.")
        return
    if plan["apt"]:
        yield _("System packages are installed: %(names)s.") % {"names": ", ".join(plan["apt"])}
    if plan["kind"] in _PYTHON:
        yield _("Python %(version)s is set up.") % {"version": plan["python"]}
        for install in plan["installs"]:
            yield _(_INSTALLS[install["source"]]) % {"files": ", ".join(install["paths"])}
        yield _("What notebooks need is added: a kernel, and pip.")
    else:
        files = ", ".join(plan["files"])
        yield _("The environment that %(files)s describes is made, as repo2docker makes it.") % {"files": files}
    yield _("The repository's files are added.")
    if plan["post_build"]:
        yield _("%(file)s is run.") % {"file": plan["post_build"]}
    if plan["start"]:
        yield _("At each start of a session, %(file)s is run first.") % {"file": plan["start"]}
