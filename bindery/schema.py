"""The database's schema from the command line: bringing it up to date before an upgrade, and looking."""

from __future__ import annotations

import asyncio

from rich.console import Console

from bindery.errors import SchemaOutdated
from bindery.settings import Settings
from bindery.wiring import DATABASE, make_database
from db.migrate import require


async def upgrade_schema(settings: Settings, output: Console) -> None:
    """Apply the migrations that are missing; waits for a database that starts."""
    asked = settings.database.model_copy(update={"migrate": True})
    if not settings.database.url.get_secret_value():
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = make_database(settings.model_copy(update={"database": asked}))
    changed = await database.open()
    await database.close()
    output.print("The schema is up to date now." if changed else "The schema was up to date.")


async def check_schema(settings: Settings, output: Console) -> None:
    """Say whether the schema fits this version. Raises `SchemaOutdated`."""
    if not settings.database.url.get_secret_value() and not (settings.data_dir / DATABASE).exists():
        raise SchemaOutdated(f"There is no database in {settings.data_dir} yet.")
    await asyncio.to_thread(require, make_database(settings).url)
    output.print("The schema is up to date.")
