"""Whether a rollback undoes what a statement does, so that it can share a transaction with the marker."""

from __future__ import annotations

from typing import Final, Literal

from ledger.dialects.kinds import StatementKind
from ledger.drivers.mysql import MysqlConnection, QueryError

Calls = Literal["nothing", "undone", "anything"]
"""What the functions that a statement calls do: nothing but compute, only what a rollback undoes, or more."""

TRANSACTIONAL: Final = ("innodb", "rocksdb", "tokudb", "ndbcluster")
ENGINE_OF: Final = """
SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = COALESCE(%s, DATABASE()) AND TABLE_NAME = %s
"""
OTHER_TABLE: Final = """
SELECT 1 FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE <> 'VIEW'
  AND LOWER(ENGINE) NOT IN ('innodb', 'rocksdb', 'tokudb', 'ndbcluster') LIMIT 1
"""
FUNCTIONS: Final = """
SELECT LOWER(ROUTINE_SCHEMA), LOWER(ROUTINE_NAME), LOWER(DATABASE()) FROM information_schema.ROUTINES
WHERE ROUTINE_TYPE <> 'PROCEDURE' AND ROUTINE_NAME IN ({names})
"""
LOADED: Final = "SELECT 1 FROM mysql.func WHERE name IN ({names}) LIMIT 1"


async def engine_of(connection: MysqlConnection, name: str) -> str | None:
    """A table's storage engine in small letters; empty for a view, None for what is not there."""
    owner, _, bare = name.rpartition(".")
    rows = await connection.fetch(ENGINE_OF, (owner or None, bare))
    return str(rows[0][0] or "").lower() if rows else None


async def rows_share_transaction(
    connection: MysqlConnection, storage: dict[str, str], kind: StatementKind
) -> bool:
    """Whether a rollback undoes it: not so for MyISAM. What is not there counts as so, and a view
    where no table is otherwise. `storage` keeps the storage engines that were asked for.
    """
    for name in (kind.target, *kind.joins):
        if name not in storage:
            found = await engine_of(connection, name)
            if found is None:
                continue
            if not found and await any_other_table(connection):
                return False
            storage[name] = found or TRANSACTIONAL[0]
        if storage[name] not in TRANSACTIONAL:
            return False
    return True


async def any_other_table(connection: MysqlConnection) -> bool:
    """Whether the database has a table of which a rollback undoes nothing."""
    return bool(await connection.fetch(OTHER_TABLE))


async def calls(connection: MysqlConnection, kind: StatementKind) -> Calls:
    """What the functions do that the statement calls.

    A stored one of the tenant's own can write into the tenant's tables, and a rollback undoes that
    unless one of these has no transactions; of any other one nothing is known.
    """
    if not kind.calls:
        return "nothing"
    called = [name.lower().rpartition(".") for name in kind.calls]
    names = sorted({part for owner, _, name in called for part in (owner, name) if part})
    places = ", ".join(["%s"] * len(names))
    rows = await connection.fetch(FUNCTIONS.replace("{names}", places), names)
    database = str(rows[0][2]) if rows else ""
    there = {(str(schema), str(name)) for schema, name, _ in rows}
    found = {
        (owner or database, name)
        for owner, _, name in called
        if (owner or database, name) in there or (database, owner) in there
    }
    if await _loaded(connection, names, places):
        return "anything"
    if not found:
        return "nothing"
    own = all(schema == database or (database, schema) in there for schema, _ in found)
    return "undone" if own and not await any_other_table(connection) else "anything"


async def _loaded(connection: MysqlConnection, names: list[str], places: str) -> bool:
    """Whether one is a loadable function. Who may not ask that has most likely not loaded any."""
    try:
        return bool(await connection.fetch(LOADED.replace("{names}", places), names))
    except QueryError:
        return False
