"""Views that refer to what is not there: kept by their definition, and made again as broken as they were.

A dump program stops at such a view, and a server creates none. Invariant: a definition is
never lost while it can be had: a view that is there as it was backed up stays, and one that
cannot be made again is named, with its definition in the backup.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from ledger.dialects.mysql.syntax import SYNTAX
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.mysql.backup.container import BrokenView
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema.objects import Names

INVALID: Final = frozenset({1054, 1143, 1146, 1305, 1356, 1449})
"""A view's column, a privilege on it, its table, its function, any of them, its definer."""

STAND_IN: Final = "ledger: stands in for a table while views of {place} are restored"
STAND_INS: Final = """
SELECT TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_COMMENT = %s
"""
COLUMNS_MAX: Final = 1000
NAME_MAX: Final = 64
CLEAN_SECONDS: Final = 30.0


async def broken_views(
    connection: MysqlConnection, names: Names, views: Iterable[str]
) -> tuple[BrokenView, ...]:
    """Those of `views` that the server cannot open."""
    broken = []
    for name in views:
        try:
            await connection.fetch(f"SHOW FIELDS FROM {quote_identifier(name)}")
        except QueryError as error:
            if error.code not in INVALID:
                raise
            broken.append(name)
    return tuple([await _definition(connection, names, name) for name in broken])


async def as_backed_up(opened: Opened, kept: Sequence[BrokenView]) -> frozenset[str]:
    """The names of those that are there with the same definition."""
    connection = opened.connection
    rows = await connection.fetch("SHOW FULL TABLES WHERE Table_type = 'VIEW'") if kept else []
    there = {str(row[0]) for row in rows}
    return frozenset(
        [
            view.name
            for view in kept
            if view.name in there
            and (await _definition(connection, opened.names, view.name)).text == view.text
        ]
    )


async def make_again(
    opened: Opened, views: Sequence[BrokenView], broken: Sequence[BrokenView]
) -> tuple[BrokenView, ...]:
    """Create these views over tables that stand in for what `broken` ones refer to; those that cannot
    be made are returned. `broken` are all of them: one may read another, which is there.
    """
    connection = opened.connection
    left = list(views)
    if not left:
        return ()
    (mode,) = (await connection.fetch("SELECT @@sql_mode"))[0]
    (charset, collation) = (
        await connection.fetch("SELECT @@character_set_client, @@collation_connection")
    )[0]
    async with _stand_ins(opened, broken):
        await connection.execute("SET SESSION sql_mode = ''")
        progress = True
        while left and progress:
            progress = False
            for view in tuple(left):
                try:
                    await connection.execute(
                        "SET SESSION character_set_client = %s, collation_connection = %s",
                        (view.charset, view.collation),
                    )
                    await connection.execute(view.text)
                except QueryError:
                    # One that reads another of them comes after it.
                    continue
                left.remove(view)
                progress = True
        await connection.execute(
            "SET SESSION character_set_client = %s, collation_connection = %s, sql_mode = %s",
            (charset, collation, mode),
        )
    return tuple(left)


async def sweep(opened: Opened) -> None:
    """Drop what a killed restore of this tenant has left standing in."""
    for (name,) in await opened.connection.fetch(STAND_INS, (_comment(opened),)):
        await opened.connection.execute(f"DROP TABLE IF EXISTS {quote_identifier(name)}")


@asynccontextmanager
async def _stand_ins(opened: Opened, views: Sequence[BrokenView]) -> AsyncIterator[None]:
    """Empty tables for what these views read and the database has not, with every column they may mean."""
    connection = opened.connection
    there = {str(row[0]).lower() for row in await connection.fetch("SHOW TABLES")}
    there |= {view.name.lower() for view in views}
    tables: dict[str, str] = {}
    columns: dict[str, str] = {}
    for view in views:
        for name in _read_names(view.text, opened.names.database):
            if name.lower() not in there:
                tables.setdefault(name.lower(), name)
        for name in _quoted_names(view.text):
            columns.setdefault(name.lower(), name)
    listed = ", ".join(
        f"{quote_identifier(name)} INT"
        for name in list(columns.values())[:COLUMNS_MAX]
        if len(name) <= NAME_MAX and name == name.strip()
    )
    try:
        for name in tables.values():
            await connection.execute(
                f"CREATE TABLE {quote_identifier(name)} ({listed}) COMMENT = %s",
                (_comment(opened),),
            )
        yield
    finally:
        with anyio.move_on_after(CLEAN_SECONDS, shield=True):
            if not connection.closed:
                await sweep(opened)


def _comment(opened: Opened) -> str:
    return STAND_IN.replace("{place}", opened.names.prefix or "this database")


async def _definition(connection: MysqlConnection, names: Names, name: str) -> BrokenView:
    """Read in backticks, whatever the session's sql_mode."""
    (mode,) = (await connection.fetch("SELECT @@sql_mode"))[0]
    await connection.execute("SET SESSION sql_mode = ''")
    try:
        rows = await connection.fetch(f"SHOW CREATE VIEW {quote_identifier(name)}")
    finally:
        await connection.execute("SET SESSION sql_mode = %s", (mode,))
    _, text, charset, collation = rows[0]
    return BrokenView(
        name=name,
        text=str(text).replace(quote_identifier(names.database) + ".", ""),
        charset=str(charset),
        collation=str(collation),
    )


def _read_names(text: str, database: str) -> list[str]:
    """What stands after FROM and JOIN, where it is in this database."""
    cursor = SYNTAX.cursor(text)
    found = []
    while not cursor.at_end:
        if cursor.next().upper not in ("FROM", "JOIN", "STRAIGHT_JOIN"):
            continue
        while cursor.take_other("("):
            pass
        if cursor.peek().kind == "quoted":
            schema, _, name = cursor.name().rpartition(".")
            if schema in ("", database):
                found.append(name)
    return found


def _quoted_names(text: str) -> list[str]:
    cursor = SYNTAX.cursor(text)
    found = []
    while not cursor.at_end:
        token = cursor.next()
        if token.kind == "quoted":
            found.append(token.text)
    return found
