"""`bindery db`, as an operator and the chart's job run it."""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy import literal, select

from bindery.process import Finished, run
from bindery.settings import DatabaseSettings
from db.postgres import pooled
from tests.support.postgres import postgres
from tests.support.service import environment


async def db(word: str, url: str, data_dir: Path) -> Finished:
    own = environment(BINDERY_DATABASE__URL=url, COLUMNS="200")
    return await run([sys.executable, "-m", "bindery", "db", word, "--data-dir", data_dir], env=own, timeout_seconds=60)


async def test_check_says_what_upgrade_mends(tmp_path: Path) -> None:
    with postgres().database() as url:
        before = await db("check", url, tmp_path)
        assert before.returncode == 1
        assert b"lacks the migrations 0001" in before.stderr
        assert b"Hint: Run: bindery db upgrade" in before.stderr
        assert b"up to date now" in (await db("upgrade", url, tmp_path)).stdout
        assert b"was up to date" in (await db("upgrade", url, tmp_path)).stdout
        assert (await db("check", url, tmp_path)).returncode == 0


async def test_a_database_without_an_encoding_keeps_all_text(tmp_path: Path) -> None:
    with postgres().database(options="ENCODING 'SQL_ASCII' LOCALE 'C'") as url:
        ended = await db("upgrade", url, tmp_path)
        assert b"up to date now" in ended.stdout, ended.stderr
        engine = pooled(url, DatabaseSettings())
        async with engine.connect() as connection:
            assert await connection.scalar(select(literal("Zürich 🚲"))) == "Zürich 🚲"
        await engine.dispose()


async def test_another_kind_of_database_is_refused_without_its_password(tmp_path: Path) -> None:
    ended = await db("check", "mysql://u:s3cret@h/d", tmp_path)
    assert ended.returncode == 2
    assert b"BINDERY_DATABASE__URL: it must begin with postgresql://" in ended.stderr
    assert b"s3cret" not in ended.stderr + ended.stdout
