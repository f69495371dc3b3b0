"""`bindery detect`: the plan, without building."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from bindery.engines import Workbench, chosen, workbench
from bindery.errors import BinderyError
from bindery.fetching import fetched
from bindery.settings import Settings
from bindery.terminal import marked
from builder.engines.base import EnvironmentBuilder, EnvironmentInfo
from builder.plan import Plan
from builder.planning import plan_for
from builder.providers.base import Resolved


async def detect(repository: str, ref: str, as_json: bool, settings: Settings, output: Console) -> None:
    """Print what a build would do. Raises the `BinderyError` that a launch would end with before it builds."""
    settings = await chosen(settings.model_copy(update={"data_dir": settings.data_dir.absolute()}))
    async with workbench(settings) as bench:
        facts, known = await _facts(repository, ref, settings, bench)
    if as_json:
        output.out(json.dumps(facts, indent=2))
        return
    _print(facts, known, output)


async def _facts(
    repository: str, ref: str, settings: Settings, bench: Workbench
) -> tuple[dict[str, Any], EnvironmentInfo | None]:
    engine = bench.builder
    resolved, plan = await _planned(repository, ref, settings, engine)
    known = await engine.find(plan.environment_key)
    image = bench.names.of(resolved.provider, resolved.repo_url, resolved.slug, resolved.ref)
    refusal, further = _refusal(engine, plan)
    facts = {
        **plan.to_dict(),
        "warnings": [*plan.warnings, *further],
        "repo_url": resolved.repo_url,
        "ref": resolved.ref,
        "environment_built": known is not None,
        "image_built": await bench.stock.has(image),
        "refused": refusal and {"code": refusal.code, "message": refusal.message, "hint": refusal.hint},
    }
    return facts, known


async def _planned(repository: str, ref: str, settings: Settings, engine: EnvironmentBuilder) -> tuple[Resolved, Plan]:
    async with fetched(repository, ref, settings) as source:
        return source.resolved, await plan_for(engine, source.tree)


def _refusal(engine: EnvironmentBuilder, plan: Plan) -> tuple[BinderyError | None, tuple[str, ...]]:
    try:
        return None, engine.check(plan)
    except BinderyError as error:
        return error, ()


def _print(facts: dict[str, Any], known: EnvironmentInfo | None, output: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in _lines(facts, known):
        table.add_row(f"[bold]{name}[/bold]", marked(value))
    output.print(table)
    for warning in facts["warnings"]:
        output.print(f"[yellow]Warning:[/yellow] {marked(warning)}", soft_wrap=True)
    if refusal := facts["refused"]:
        output.print(f"[red]This engine cannot build it:[/red] {marked(refusal['message'])}", soft_wrap=True)
        output.print(f"Hint: {marked(refusal['hint'])}", soft_wrap=True)


def _lines(facts: dict[str, Any], known: EnvironmentInfo | None) -> list[tuple[str, str]]:
    environment = "there already" if known else "to be built"
    return [
        ("Repository", f"{facts['repo_url']} at {facts['ref']}"),
        ("Kind", f"{facts['kind']} ({facts['buildpack']})"),
        ("Python", f"{facts['python']} ({facts['python_reason']})"),
        ("Files", ", ".join(facts["files"]) or "none"),
        ("System packages", ", ".join(facts["apt"]) or "none"),
        ("After the build", facts["post_build"] or "nothing"),
        ("Start script", facts["start"] or "none"),
        ("Environment", f"{facts['environment_key']}, {environment}"),
        ("Needs all files", "yes, so every commit has an environment of its own" if facts["needs_tree"] else "no"),
        ("Image", "there already" if facts["image_built"] else "to be built"),
    ]
