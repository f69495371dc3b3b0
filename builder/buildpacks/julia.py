"""Julia's repositories: Project.toml or JuliaProject.toml."""

from __future__ import annotations

from builder.buildpacks.conda import conda_packages, find_environment, is_local
from builder.buildpacks.draft import Draft
from builder.buildpacks.python import python_steps
from builder.plan import Kind
from builder.reading import Reading, invalid
from builder.runtime import read_runtime

_MANIFESTS = ("JuliaManifest.toml", "Manifest.toml")


def draft(reading: Reading) -> Draft | None:
    """Plan a repository for Julia; its Python and conda files count too."""
    path = reading.find("JuliaProject.toml") or reading.find("Project.toml")
    if path is None:
        _refuse_require(reading)
        return None
    project = reading.toml(path)
    manifest = next((found for found in map(reading.find, _MANIFESTS) if found), None)
    # A package is built from its sources, and so is what a manifest names by path.
    local = "uuid" in project or "sources" in project
    if manifest is not None:
        local = b"\npath" in reading.use(manifest) or local
    environment = find_environment(reading)
    if environment is not None:
        local = is_local(conda_packages(reading, environment)) or local
    steps = python_steps(reading, read_runtime(reading))
    return Draft(Kind.JULIA, "JuliaProjectTomlBuildPack", path, steps.python, needs_tree=local or steps.local)


def _refuse_require(reading: Reading) -> None:
    path = reading.find("REQUIRE")
    if path is not None:
        hint = "Describe the packages in a Project.toml, and remove REQUIRE."
        raise invalid(path, "Julia packages can no longer be installed from a REQUIRE file", hint=hint)
