"""R's repositories: runtime.txt with a snapshot date, or a DESCRIPTION."""

from __future__ import annotations

import datetime
import re

from builder.buildpacks.conda import conda_packages, find_environment, is_local
from builder.buildpacks.draft import Draft
from builder.buildpacks.python import python_steps
from builder.plan import Kind
from builder.reading import Reading, invalid
from builder.runtime import Runtime

#: No snapshots of R packages are to be had from before.
OLDEST_SNAPSHOT = datetime.date(2018, 12, 7)


def draft(reading: Reading, runtime: Runtime) -> Draft | None:
    """Plan a repository for R; its Python and conda files count too."""
    description = reading.find_root("DESCRIPTION")
    dated = runtime.name == "r" and runtime.date is not None
    if not dated and description is None:
        return None
    if runtime.name == "r":
        _check(reading, runtime)
    steps = python_steps(reading, runtime)
    local = steps.local or description is not None
    environment = find_environment(reading)
    if environment is not None:
        local = is_local(conda_packages(reading, environment)) or local
    script = reading.find("install.R")
    for path in (description, script):
        if path is not None:
            reading.use(path)
    decided_by = runtime.path if dated else description or ""
    # install.R may read any file of the repository.
    return Draft(Kind.R, "RBuildPack", decided_by, steps.python, needs_tree=local or script is not None)


def _check(reading: Reading, runtime: Runtime) -> None:
    reading.use(runtime.path)
    if runtime.date is not None and runtime.date < OLDEST_SNAPSHOT:
        hint = f"Use a date from {OLDEST_SNAPSHOT} on."
        raise invalid(
            runtime.path, "R packages of so early a date are not to be had", text=str(runtime.date), hint=hint
        )
    if runtime.version and not re.fullmatch(r"\d+\.\d+(\.\d+)?", runtime.version, re.ASCII):
        raise invalid(
            runtime.path, "not a version of R", text=runtime.version, hint="Write for instance r-4.4-2025-06-01."
        )
