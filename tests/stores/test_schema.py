"""The ledger's own tables: golden copies of every schema number, and the way forward."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger.drivers.url import MysqlUrl, SqliteUrl
from ledger.errors import NewerLedgerError, StoreError, StoreUnavailableError
from ledger.stores import open_store
from ledger.stores.base import LEDGER_SCHEMA
from ledger.stores.schema import UPGRADES, Upgrade
from tests.conftest import MakeDatabase
from tests.servers import Server, queries, query
from tests.stores.ledgers import Place, audit, request, server_place, sqlite_place

GOLDEN = Path(__file__).parent.parent / "golden"
NUMBERS = range(1, LEDGER_SCHEMA)
ADD_NOTE = Upgrade(
    to=3,
    statements=(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY)",
        "ALTER TABLE notes ADD COLUMN note VARCHAR(10)",
    ),
)
BROKEN = Upgrade(
    to=4, statements=("CREATE TABLE extra (id INTEGER)", "ALTER TABLE nowhere ADD x INTEGER")
)


def sqlite_schema(path: Path) -> dict[str, str]:
    """Every object's definition, white space folded."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows}


def mysql_schema(server: Server, database: str) -> dict[str, str]:
    """Every table and trigger as the server describes it."""
    schema = {}
    for (table,) in query(server, "SHOW TABLES", database=database):
        ((_, text, *_),) = query(server, f"SHOW CREATE TABLE `{table}`", database=database)
        schema[str(table)] = str(text).replace(database, "")
    for name, action, table, statement, timing, *_ in query(
        server, "SHOW TRIGGERS", database=database
    ):
        schema[str(name)] = f"{timing} {action} {table} {statement}"
    return schema


def golden_statements(number: int) -> list[str]:
    """The statements of a golden copy; its triggers are single statements."""
    text = (GOLDEN / f"ledger_schema_{number}.mysql.sql").read_text()
    return [statement for statement in text.split(";\n") if statement.strip()]


@pytest.mark.parametrize("number", NUMBERS)
async def test_an_old_sqlite_ledger_is_brought_forward(number: int, tmp_path: Path) -> None:
    """A ledger of each old schema opens, keeps its events, takes new ones, and ends like a fresh one."""
    old, fresh = tmp_path / "old.db", tmp_path / "fresh.db"
    with closing(sqlite3.connect(old)) as db:
        db.executescript((GOLDEN / f"ledger_schema_{number}.sqlite.sql").read_text())
    async with open_store(SqliteUrl(path=str(old))) as store:
        before = await audit(store)
        assert before > 0
        assert store.ledger_id == "00112233445566778899aabbccddeeff"
        await store.append(request("tenant/a"))
        assert await audit(store) == before + 1
    async with open_store(SqliteUrl(path=str(fresh)), create=True):
        pass
    assert sqlite_schema(old) == sqlite_schema(fresh)


@pytest.mark.parametrize("number", NUMBERS)
async def test_an_old_server_ledger_is_brought_forward(
    number: int, sql_server: Server, make_database: MakeDatabase
) -> None:
    """The same on a server."""
    old, fresh = make_database(sql_server), make_database(sql_server)
    queries(sql_server, golden_statements(number), database=old)
    async with server_place(sql_server, old).open(create=False) as store:
        before = await audit(store)
        assert before > 0
        assert store.ledger_id == "00112233445566778899aabbccddeeff"
        await store.append(request("tenant/a"))
        assert await audit(store) == before + 1
    async with server_place(sql_server, fresh).open():
        pass
    assert mysql_schema(sql_server, old) == mysql_schema(sql_server, fresh)


async def test_an_upgrade_of_a_file_is_one_transaction(tmp_path: Path) -> None:
    """Upgrades run in order when the ledger is opened; one that fails leaves the ledger as it was."""
    place = sqlite_place(tmp_path)
    assert isinstance(place.url, SqliteUrl)
    async with place.open() as store:
        await store.append(request("tenant/a"))
    upgrades = (*UPGRADES, BROKEN, ADD_NOTE)
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        async with open_store(place.url, schema=4, upgrades=upgrades):
            pass
    assert place.execute("SELECT value FROM meta WHERE key = 'schema'") == [("2",)]
    assert place.execute("SELECT name FROM sqlite_master WHERE name IN ('notes', 'extra')") == []
    async with open_store(place.url, schema=3, upgrades=upgrades) as store:
        await store.append(request("tenant/a"))
        assert await audit(store) == 2
    place.execute("INSERT INTO notes (id, note) VALUES (1, 'kept')")
    async with open_store(place.url, schema=3, upgrades=upgrades):
        pass
    assert place.execute("SELECT note FROM notes") == [("kept",)]
    await refuses_appends_from_schema_2(place)


async def test_an_upgrade_on_a_server_is_finished_by_the_next(
    sql_server: Server, make_database: MakeDatabase
) -> None:
    """DDL commits by itself there: an upgrade that was cut short is taken up again where it stood."""
    place = server_place(sql_server, make_database(sql_server))
    assert isinstance(place.url, MysqlUrl)
    async with place.open() as store:
        await store.append(request("tenant/a"))
    upgrades = (*UPGRADES, BROKEN, ADD_NOTE)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="nowhere"):
            async with open_store(place.url, sql_server.secret, schema=4, upgrades=upgrades):
                pass
        assert place.execute("SELECT value FROM meta WHERE `key` = 'schema'") == [("3",)]
    place.execute("CREATE TABLE nowhere (id INTEGER)")
    async with open_store(place.url, sql_server.secret, schema=4, upgrades=upgrades) as store:
        await store.append(request("tenant/a"))
        assert await audit(store) == 2
    place.execute("INSERT INTO notes (id, note) VALUES (1, 'kept')")
    await refuses_appends_from_schema_2(place)


async def refuses_appends_from_schema_2(place: Place) -> None:
    """The upgraded ledger is a newer one for the version before."""
    async with place.open(create=False) as store:
        with pytest.raises(NewerLedgerError):
            await store.append(request("tenant/a"))
        assert await audit(store) == 2


async def test_a_hole_in_the_upgrades_is_an_error(tmp_path: Path) -> None:
    """A schema number that no upgrade leads to is an error, not a guess."""
    place = sqlite_place(tmp_path)
    assert isinstance(place.url, SqliteUrl)
    async with place.open():
        pass
    with pytest.raises(StoreError, match="no way from it to schema 3"):
        async with open_store(place.url, schema=4, upgrades=(BROKEN,)):
            pass
