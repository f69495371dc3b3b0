"""`bindery images` and `bindery gc`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sized

from rich.console import Console
from rich.table import Table

from bindery.engines import chosen, stock
from bindery.housekeeping import Housekeeping
from bindery.settings import MIB, RetentionSettings, Settings
from bindery.wiring import rows
from registry.retention import Inventory


@contextlib.asynccontextmanager
async def _housekeeping(settings: Settings, marks: RetentionSettings) -> AsyncIterator[Housekeeping]:
    settings = await chosen(settings.model_copy(update={"data_dir": settings.data_dir.absolute()}))
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    async with rows(settings) as stored, stock(settings) as held:
        yield Housekeeping(held, stored.images, stored.sessions, stored.builds, marks)


async def show_images(settings: Settings, output: Console) -> None:
    """List the images: the last used first."""
    async with _housekeeping(settings, settings.retention) as keeper:
        inventory = await keeper.inventory()
        records = {record.reference: record for record in await keeper.images.all()}
    table = Table("Repository", "Commit", "Own MiB", "Environment", "MiB", "Shared by", "Where", "Last used", box=None)
    for image in sorted(inventory.images, key=lambda image: -image.used_at):
        record = records.get(image.reference)
        table.add_row(
            record.repo_url if record else image.reference,
            record.ref[:12] if record else "",
            f"{image.own_bytes / MIB:.1f}",
            image.environment_key[:12],
            f"{inventory.environments.get(image.environment_key, 0) / MIB:.0f}",
            str(inventory.shared_by[image.environment_key]),
            "registry" if image.away else "here",
            _ago(time.time() - image.used_at),
        )
    output.print(table)
    if inventory.bases:
        output.print(_bases(inventory))
    counts = f"{_counted(inventory.images, 'image')}, {_counted(inventory.environments, 'environment')}"
    if inventory.bases:
        counts += f", {len(inventory.bases)} below them"
    output.print(f"{counts}, {inventory.total_bytes / MIB:.0f} MiB")


def _bases(inventory: Inventory) -> Table:
    """What environments stand on."""
    table = Table("Below environments", "MiB", "Below how many", "", box=None)
    idle = inventory.idle_bases(inventory.environments)
    for name, size in inventory.bases.items():
        standing = sum(below == name for below in inventory.below.values())
        table.add_row(name, f"{size / MIB:.0f}", str(standing), "not needed" if name in idle else "")
    return table


async def collect(settings: Settings, marks: RetentionSettings, dry_run: bool, output: Console) -> None:
    """Remove the images that were used longest ago, down to the low mark."""
    async with _housekeeping(settings, marks) as keeper:
        plan = await keeper.plan()
        if not dry_run:
            plan = await keeper.carry_out(plan)
    for name in (*plan.images, *(f"environment {key[:12]}" for key in plan.environments), *plan.bases):
        output.print(name, soft_wrap=True)
    verb = "Would remove" if dry_run else "Removed"
    images, environments = _counted(plan.images, "image"), _counted(plan.environments, "environment")
    counted = f"{images} and {environments}"
    if plan.bases:
        counted = f"{images}, {environments} and {len(plan.bases)} below them"
    output.print(f"{verb} {counted}, {plan.freed_bytes / MIB:.0f} MiB")


def _counted(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"
