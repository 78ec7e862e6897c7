"""SQL as a MySQL or MariaDB ledger takes it: types, triggers, parameters, and rows as literals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.stores.base import Row, Spelling, Table
from ledger.stores.chain import timestamp
from ledger.stores.filters import marks
from ledger.stores.mysql_server import NO_TRIGGERS, NoTriggersError
from ledger.stores.schema import TABLES

STATEMENT_BYTES: Final = 1024 * 1024

_UTF8: Final = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_ASCII: Final = "CHARACTER SET ascii COLLATE ascii_bin"
_TABLE: Final = (
    "ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
)


def _like(pattern: str) -> str:
    for literal in "|%_":
        pattern = pattern.replace(literal, "|" + literal)
    return pattern.replace("*", "%").replace("?", "_")


SPELLING: Final = Spelling(
    words={
        "key": "`key`",
        "position": "BIGINT",
        "number": "INT",
        "tiny": "TINYINT",
        "name_128": f"VARCHAR(128) {_UTF8}",
        "name_255": f"VARCHAR(255) {_UTF8}",
        "name_512": f"VARCHAR(512) {_UTF8}",
        "code_32": f"VARCHAR(32) {_ASCII}",
        "code_64": f"VARCHAR(64) {_ASCII}",
        "digest": f"CHAR(64) {_ASCII}",
        "time": f"CHAR(27) {_ASCII}",
        "long_text": f"LONGTEXT {_UTF8}",
        "bytes": "LONGBLOB",
        "table": _TABLE,
        "keyed_table": _TABLE,
        "key_stream_version": " KEY stream_version",
        "key_event_id": " KEY event_id",
    },
    as_bytes="CAST({column} AS BINARY)",
    facts="seq, version, at, run, actor, tenant, CAST(body AS BINARY)",
    like="{column} LIKE ? ESCAPE '|'",
    pattern=_like,
    lock="FOR UPDATE",
)
TRIGGERS: Final = tuple(
    f"""
CREATE TRIGGER IF NOT EXISTS {table}_refuse_{action.lower()} BEFORE {action} ON {table}
FOR EACH ROW SIGNAL SQLSTATE '45000'
SET MESSAGE_TEXT = 'the ledger is append-only: {action} on {table} is refused'"""
    for table in ("events", "scripts")
    for action in ("UPDATE", "DELETE")
)

_HEAD: Final = """
SELECT head.seq, head.hash, meta.value, UTC_TIMESTAMP(6)
FROM head LEFT JOIN meta ON meta.`key` = 'schema'
WHERE head.id = 1 FOR UPDATE"""
# A statement of its own, after the lock: its snapshot and its clock are from then.
_VERSIONS: Final = """
SELECT NULL, NULL, UTC_TIMESTAMP(6) UNION ALL
SELECT stream, MAX(version), NULL FROM events WHERE stream IN ({marks}) GROUP BY stream"""
_COLUMNS: Final = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name IN ({marks}) ORDER BY table_name, ordinal_position"""
_ALREADY_DONE: Final = frozenset({1050, 1060, 1061, 1091, 1359})
"""Table, column, key or trigger is there already, or gone already: an upgrade that was cut short."""


class ServerConnection:
    """A `Connection` on a server, each of whose statements has a deadline."""

    def __init__(self, connection: MysqlConnection, packet_bytes: int) -> None:
        self._connection = connection
        self._packet_bytes = packet_bytes

    async def execute(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return await self._connection.fetch(sql.replace("?", "%s"), values)

    async def insert(self, table: Table, rows: Sequence[Row], *, replace: bool = False) -> None:
        names = ", ".join(map(quote_identifier, table.columns))
        start = f"{'REPLACE' if replace else 'INSERT'} INTO {table.name} ({names}) VALUES "  # noqa: S608
        for part in _packets(rows, min(self._packet_bytes // 2, STATEMENT_BYTES)):
            await self._connection.execute(start + ", ".join(part))

    async def lock_head(self) -> list[Row]:
        """See `Connection.lock_head`."""
        return [(*row, _timestamp(now)) for *row, now in await self._connection.fetch(_HEAD)]

    async def versions(self, streams: Sequence[str]) -> tuple[str, dict[str, int]]:
        wanted = streams or ("",)
        rows = await self.execute(_VERSIONS.format(marks=marks(wanted)), wanted)
        now = next(now for _, _, now in rows if now is not None)
        found = {stream: version for stream, version, _ in rows if stream is not None}
        return _timestamp(now), found

    async def columns(self) -> list[tuple[str, str]]:
        """See `Connection.columns`: of tables named like ours: a ledger may share its database with others."""
        names = tuple(TABLES)
        rows = await self.execute(_COLUMNS.format(marks=marks(names)), names)
        return [(str(table), str(column)) for table, column in rows]

    async def change_layout(self, statement: str) -> None:
        try:
            await self._connection.execute(statement)
        except QueryError as error:
            if statement in TRIGGERS and error.code in NO_TRIGGERS:
                raise NoTriggersError(error.code, error.message) from error
            if error.code not in _ALREADY_DONE:
                raise


def _packets(rows: Sequence[Row], limit_bytes: int) -> Iterator[list[str]]:
    """The rows as they stand in VALUES, as many to a statement as fit; one that is too long goes alone."""
    part: list[str] = []
    size = 0
    for row in rows:
        literal = f"({', '.join(map(_literal, row))})"
        length = len(literal) if literal.isascii() else len(literal.encode())
        if part and size + length > limit_bytes:
            yield part
            part, size = [], 0
        part.append(literal)
        size += length + 2
    if part:
        yield part


def _literal(value: object) -> str:
    """A value as it stands in VALUES.

    Between two quotes only the quote and the backslash have a meaning: the connection's text is
    utf8mb4, and `_SESSION` (mysql.py) sets a mode without NO_BACKSLASH_ESCAPES. The driver's own escaping
    goes character by character, which took longer than all else of an append.
    """
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, int):
        return str(int(value))
    raise TypeError(f"no column of the ledger holds a {type(value).__name__}")


def _timestamp(now: datetime) -> str:
    return timestamp(now.replace(tzinfo=UTC))
