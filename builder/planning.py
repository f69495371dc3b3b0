"""Planning for an engine: with what is there, and only where that will not do with what could be brought here."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bindery.errors import EngineCannotServe, PythonUnavailable
from builder import detect
from builder.engines.base import EnvironmentBuilder
from builder.plan import Plan
from builder.tree import Tree


async def plan_for(engine: EnvironmentBuilder, tree: Tree) -> Plan:
    """Decide what a build of the tree will do.

    Of the Pythons that a repository accepts, those that are installed come before those that would be downloaded.
    Raises as `detect.plan` does; whether the engine can carry the plan out, its `check` says.
    """
    try:
        plan = await asyncio.to_thread(detect.plan, tree, engine.context)
        with suppress(EngineCannotServe):
            engine.check(plan)
        return plan
    except PythonUnavailable:
        return await asyncio.to_thread(detect.plan, tree, await engine.wider_context())
