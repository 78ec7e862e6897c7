"""Routines, libraries and events: what SHOW CREATE says of them."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError

LIBRARIES_SINCE: Final = (9, 2)

_PASSING: Final = re.compile(
    r"\n[^\n]*? EVENT (?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\") ON SCHEDULE"
    r" (?:AT |EVERY (?:(?! ON COMPLETION ).)+? ENDS )"
)


def has_libraries(connection: MysqlConnection) -> bool:
    """Whether the server knows CREATE LIBRARY."""
    server = connection.server
    return server.flavor == "mysql" and server.version[:2] >= LIBRARIES_SINCE


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A routine, library or event as SHOW CREATE writes it, and what it was created under; `time_zone` of
    events. A library has no character set.
    """

    text: str
    sql_mode: str
    charset: str
    collation: str
    time_zone: str = ""


async def read_program(connection: MysqlConnection, kind: str, name: str) -> Program | None:
    """A routine or event; None if the account may not read it."""
    try:
        rows = await connection.fetch(f"SHOW CREATE {kind} {quote_identifier(name)}")
    except QueryError:
        return None
    event = kind == "EVENT"
    column = 3 if event else 2
    if not rows or rows[0][column] is None:
        return None
    row = rows[0]
    library = kind == "LIBRARY"
    return Program(
        text=str(row[column]),
        sql_mode=str(row[1]),
        charset="" if library else str(row[column + 1]),
        collation="" if library else str(row[column + 2]),
        time_zone=str(row[2]) if event else "",
    )


async def program_text(connection: MysqlConnection, kind: str, name: str) -> str:
    """A routine or event with its sql_mode; words in its place if the account may not read it."""
    found = await read_program(connection, kind, name)
    return "(not readable)" if found is None else f"{found.sql_mode}\n{found.text}"


def passes(text: str) -> bool:
    """Whether it is an event that will be gone, or disabled, by itself: no part of the schema."""
    return _PASSING.search(text) is not None
