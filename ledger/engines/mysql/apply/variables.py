"""User variables and settings of a connection: read with their types, and set again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from ledger.dialects.mysql.connection import uses
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError

PROGRAMS: Final = """
SELECT ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()
UNION ALL
SELECT ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()
"""
ALL_SETTINGS: Final = "SHOW SESSION VARIABLES"
ONE_SETTING: Final = "SELECT @@session.{name}"
ROWS: Final = "`ledger_row_count`"
_DIGITS: Final = " UNION ALL ".join(["SELECT 1"] * 10)
OWN_COURSE: Final = frozenset(
    {"timestamp", "rand_seed1", "rand_seed2", "last_insert_id", "insert_id", "identity",
     "warning_count", "error_count", "in_transaction", "pseudo_thread_id", "last_gtid"}
)  # fmt: skip
"""Session variables that change from statement to statement without being set."""

_NO_SESSION_VARIABLE: Final = frozenset({1193, 1227, 1229, 1231, 1238, 1621})
_INTEGERS: Final = frozenset({1, 2, 3, 8, 9})
_DOUBLES: Final = frozenset({4, 5})
_DECIMALS: Final = frozenset({0, 246})
_UNSIGNED: Final = 32
_NAME: Final = re.compile(r"[a-z_]\w*", re.IGNORECASE)

Setting = str | int | float | None


class Variable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user variable. `value` is a number's text, or a string's bytes in hexadecimal; None for NULL."""

    name: str
    type: Literal["integer", "unsigned", "decimal", "double", "string"]
    value: str | None = None
    charset: str = ""
    collation: str = ""

    @property
    def assignment(self) -> str:
        """As SET takes it. All that is not plain ASCII is in hexadecimal: no sql_mode and no
        character set of the session changes it.
        """
        value = "NULL" if self.value is None else self.value
        if self.value is None:
            pass
        elif self.type == "unsigned":
            value = f"CAST({value} AS UNSIGNED)"
        elif self.type == "double":
            value = value if "e" in value.lower() else f"{value}e0"
        elif self.type == "string":
            value = f"x'{value}'"
            if self.charset and self.charset != "binary":
                value = f"_{self.charset} {value} COLLATE {self.collation}"
        return f"@{quote_identifier(self.name)} = {value}"


async def read(connection: MysqlConnection, names: Iterable[str]) -> tuple[Variable, ...]:
    """The user variables of these names; those that were never set are NULL, as they are to SQL."""
    quoted = [(name, f"@{quote_identifier(name)}") for name in sorted(names)]
    if not quoted:
        return ()
    types = await connection.columns(f"SELECT {', '.join(text for _, text in quoted)} LIMIT 0")
    numeric = [type_code in _INTEGERS | _DOUBLES | _DECIMALS for type_code, _ in types]
    asked = ", ".join(
        f"CAST({text} AS CHAR), '', ''"
        if number
        else f"HEX({text}), CHARSET({text}), COLLATION({text})"
        for (_, text), number in zip(quoted, numeric, strict=True)
    )
    (row,) = await connection.fetch(f"SELECT {asked}")
    return tuple(
        Variable(
            name=name,
            type=_type(*types[number]),
            value=None if row[3 * number] is None else str(row[3 * number]),
            charset=row[3 * number + 1],
            collation=row[3 * number + 2],
        )
        for number, (name, _) in enumerate(quoted)
    )


def _type(code: int, flags: int) -> Literal["integer", "unsigned", "decimal", "double", "string"]:
    if code in _INTEGERS:
        return "unsigned" if flags & _UNSIGNED else "integer"
    return "double" if code in _DOUBLES else "decimal" if code in _DECIMALS else "string"


async def write(connection: MysqlConnection, variables: Iterable[Variable]) -> None:
    """Set them all."""
    parts = [variable.assignment for variable in variables]
    if parts:
        await connection.execute(f"SET {', '.join(parts)}")


class Programs(msgspec.Struct, frozen=True, kw_only=True):
    """What the tenant's routines and triggers name: `variables` of the user, and ROW_COUNT (`counts`)."""

    variables: frozenset[str] = frozenset()
    counts: bool = False


async def programs(connection: MysqlConnection) -> Programs:
    """As far as the account may read their texts."""
    texts = [str(row[0]) for row in await connection.fetch(PROGRAMS) if row[0]]
    return Programs(
        variables=frozenset().union(*(uses(text).variables for text in texts if "@" in text)),
        counts=any("ROW_COUNT" in text.upper() for text in texts),
    )


async def set_row_count(connection: MysqlConnection, rows: int) -> None:
    """Make ROW_COUNT() what it was, for code that reads it. Only CREATE TABLE … AS can say any number."""
    if rows < 0:
        await connection.fetch("SELECT 1")
    elif rows == 0:
        await connection.execute("DO 0")
    else:
        await drop_rows(connection)
        places = range(len(str(rows)))
        digits = ", ".join(f"({_DIGITS}) AS d{place}" for place in places)
        await connection.execute(
            f"CREATE TEMPORARY TABLE {ROWS} AS SELECT 1 FROM {digits} LIMIT {rows}"  # noqa: S608 - digits
        )


async def drop_rows(connection: MysqlConnection) -> None:
    """What `set_row_count` has needed."""
    await connection.execute(f"DROP TEMPORARY TABLE IF EXISTS {ROWS}")


async def all_settings(connection: MysqlConnection) -> dict[str, object]:
    """All session variables that stay as they are until they are set."""
    rows = await connection.fetch(ALL_SETTINGS)
    return {str(name): value for name, value in rows if name not in OWN_COURSE}


async def setting(connection: MysqlConnection, name: str) -> tuple[Setting] | None:
    """The session's value; None if this is no variable of a session."""
    if not _NAME.fullmatch(name):
        return None
    with _of_the_server():
        (row,) = await connection.fetch(ONE_SETTING.format(name=name))
        value = row[0]
        return (value if isinstance(value, (str, int, float, type(None))) else str(value),)
    return None


async def set_setting(connection: MysqlConnection, name: str, value: Setting) -> None:
    """Set it for the session; None is its default."""
    with _of_the_server():
        if value is None:
            await connection.execute(f"SET SESSION {name} = DEFAULT")
        else:
            await connection.execute(f"SET SESSION {name} = %s", (value,))


@contextlib.contextmanager
def _of_the_server() -> Iterator[None]:
    """A variable that no session can read or set is the server's, whatever it was seen to be."""
    try:
        yield
    except QueryError as error:
        if error.code not in _NO_SESSION_VARIABLE:
            raise
