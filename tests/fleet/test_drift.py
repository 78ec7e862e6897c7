"""Drift: what the migrations define is the measure, before and after every command."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.fleet.world import Fleet

REWRITTEN = """\
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = 'CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, more TEXT)'
    WHERE name = 'notes';
PRAGMA writable_schema = OFF;
"""
REWRITTEN_BY_PYTHON = """\
async def up(tenant):
    await tenant.execute("PRAGMA writable_schema = ON")
    await tenant.execute(
        "UPDATE sqlite_master SET sql = replace(sql, 'text TEXT', 'text TEXT NOT NULL')"
        " WHERE name = 'notes'"
    )
"""


def dump_of_fts5() -> str:
    """What the client's `.dump` writes of an FTS5 table: its row of sqlite_master, then the shadow tables."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE VIRTUAL TABLE found USING fts5(body)")
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE name <> 'found'")
        tables = "".join(f"{sql};\n" for _, sql in rows.fetchall())
    return (
        "PRAGMA writable_schema=ON;\n"
        "INSERT INTO sqlite_master(type,name,tbl_name,rootpage,sql)"
        "VALUES('table','found','found',0,'CREATE VIRTUAL TABLE found USING fts5(body)');\n"
        f"{tables}PRAGMA writable_schema=OFF;\n"
    )


@pytest.mark.parametrize("transaction", ["", "-- migrate:up transaction:false\n"])
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("text", [REWRITTEN, dump_of_fts5()], ids=["rewritten", "fts5"])
async def test_what_a_migration_wrote_into_the_schema_table_is_no_drift(
    tmp_path: Path, text: str, workers: int, transaction: str
) -> None:
    """SQLite does not read again what was written there: what is recorded is what a new connection sees."""
    fleet = Fleet(tmp_path, tenants=2, extra=f"workers = {workers}")
    fleet.write("002_schema.sql", transaction + text)
    assert (await fleet.open().migrate()).success
    report = await fleet.open().validate()
    assert report.valid
    assert len({one.recorded for one in report.findings}) == 1
    assert report.findings[0].recorded == report.findings[0].fingerprint


async def test_what_a_python_migration_wrote_into_the_schema_table_is_no_drift(
    tmp_path: Path,
) -> None:
    """As for files; which statements it runs is not known beforehand."""
    fleet = Fleet(tmp_path, tenants=1, extra="allow_python = true")
    fleet.write("002_schema.py", REWRITTEN_BY_PYTHON)
    assert (await fleet.open().migrate()).success
    report = await fleet.open().validate()
    assert report.valid
    assert report.findings[0].recorded == report.findings[0].fingerprint
