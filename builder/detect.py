"""From a commit's files to the plan of its environment.

The rules are those of repo2docker 2026.4, apart from the differences listed in docs/dependency-files.md.
"""

from __future__ import annotations

from bindery.errors import ConflictingFiles
from builder.advice import advise
from builder.apt import read_apt
from builder.buildpacks import conda, julia, opaque, pipfile, python, r
from builder.buildpacks.draft import Draft
from builder.keys import environment_key
from builder.plan import Plan, PlanContext
from builder.reading import Reading
from builder.runtime import Runtime, read_runtime
from builder.tree import Tree

CONFIG_FOLDERS = ("binder", ".binder")


def plan(tree: Tree, context: PlanContext) -> Plan:
    """Decide what a build will do.

    Pure: the tree is all that is read. Raises `InvalidDependencyFile`, `ConflictingFiles` or `PythonUnavailable`.
    """
    reading = Reading(tree, context, config_folder(tree))
    draft, runtime = _draft(reading)
    apt = read_apt(reading) if draft.extras else ()
    advise(reading, draft, runtime)
    key = environment_key(
        context,
        kind=draft.kind,
        python=draft.python.version,
        installs=draft.installs,
        apt=apt,
        contents=reading.contents,
        tree=tree.object_id if draft.needs_tree else None,
    )
    return Plan(
        kind=draft.kind,
        buildpack=draft.buildpack,
        python=draft.python.version,
        python_reason=draft.python.reason,
        config_folder=reading.folder,
        files=tuple(sorted(reading.files, key=lambda path: path != draft.decided_by)),
        apt=apt,
        installs=draft.installs,
        needs_tree=draft.needs_tree,
        post_build=reading.find("postBuild") if draft.extras else None,
        start=reading.find("start") if draft.extras else None,
        warnings=tuple(reading.warnings),
        environment_key=key,
    )


def config_folder(tree: Tree) -> str:
    """The folder that configuration is read from; "" is the root. Raises `ConflictingFiles`."""
    found = [folder for folder in CONFIG_FOLDERS if tree.is_folder(folder)]
    if len(found) > 1:
        raise ConflictingFiles("The repository has both a binder/ and a .binder/ folder.", hint="Keep one of them.")
    return found[0] if found else ""


def _draft(reading: Reading) -> tuple[Draft, Runtime]:
    """The first buildpack that says yes, in repo2docker's order; runtime.txt is read only by those that need it."""
    early = opaque.draft_dockerfile(reading) or julia.draft(reading) or opaque.draft_nix(reading)
    if early is not None:
        return early, Runtime()
    runtime = read_runtime(reading)
    found = r.draft(reading, runtime) or conda.draft(reading) or pipfile.draft(reading, runtime)
    return found or python.draft(reading, runtime), runtime
