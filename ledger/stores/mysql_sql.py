"""SQL as a MySQL or MariaDB ledger takes it: types, triggers, parameters, and rows as literals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.stores.base import Row, Spelling, Table
from ledger.stores.filters import marks
from ledger.stores.mysql_server import NO_TRIGGERS, NoTriggersError
from ledger.stores.schema import REFUSING, TABLES

STATEMENT_BYTES: Final = 1024 * 1024

_UTF8: Final = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_ASCII: Final = "CHARACTER SET ascii COLLATE ascii_bin"
_TABLE: Final = (
    "ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
)

_CLOCK: Final = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"


def _like(pattern: str) -> str:
    for literal in "|%_":
        pattern = pattern.replace(literal, "|" + literal)
    return pattern.replace("*", "%").replace("?", "_")


SPELLING: Final = Spelling(
    words={
        "key": "`key`",
        "position": "BIGINT",
        "number": "INT",
        "small": "SMALLINT",
        "tiny": "TINYINT",
        "name_128": f"VARCHAR(128) {_UTF8}",
        "name_255": f"VARCHAR(255) {_UTF8}",
        "name_512": f"VARCHAR(512) {_UTF8}",
        "code_32": f"VARCHAR(32) {_ASCII}",
        "digest": f"CHAR(64) {_ASCII}",
        "long_text": f"LONGTEXT {_UTF8}",
        "bytes": "LONGBLOB",
        "raw_digest": "BINARY(32)",
        "table": _TABLE,
        "keyed_table": _TABLE,
        "key_stream_version": " KEY stream_version",
        "key_name": " KEY kind_name",
    },
    as_bytes="CAST({column} AS BINARY)",
    clock=_CLOCK,
    view="""
CREATE VIEW event_log AS
SELECT events.seq, streams.name AS stream, events.version, types.name AS type,
    DATE_FORMAT(
        TIMESTAMPADD(MICROSECOND, events.at, '1970-01-01'), '%Y-%m-%dT%H:%i:%s.%fZ'
    ) AS at,
    runs.name AS run, actors.name AS actor,
    CASE WHEN LEFT(streams.name, 7) = 'tenant/' THEN SUBSTR(streams.name, 8) END AS tenant,
    CONCAT(
        '{"type":"', types.name, '","schema":1', COALESCE(event_parts.text, ''),
        CASE events.body WHEN '{}' THEN '}' ELSE CONCAT(',', SUBSTR(events.body, 2)) END
    ) AS body,
    LOWER(HEX(events.hash)) AS hash
FROM events
JOIN event_names AS streams ON streams.kind = 1 AND streams.id = events.stream
JOIN event_names AS types ON types.kind = 4 AND types.id = events.type
JOIN event_names AS runs ON runs.kind = 2 AND runs.id = events.run
JOIN event_names AS actors ON actors.kind = 3 AND actors.id = events.actor
LEFT JOIN event_parts ON event_parts.id = events.part""",
    like="{column} LIKE ? ESCAPE '|'",
    pattern=_like,
    lock="FOR UPDATE",
)
TRIGGERS: Final = tuple(
    f"""
CREATE TRIGGER IF NOT EXISTS {table}_refuse_{action.lower()} BEFORE {action} ON {table}
FOR EACH ROW SIGNAL SQLSTATE '45000'
SET MESSAGE_TEXT = 'the ledger is append-only: {action} on {table} is refused'"""
    for table in REFUSING
    for action in ("UPDATE", "DELETE")
)

_HEAD: Final = f"""
SELECT head.seq, head.hash, meta.value, {_CLOCK}
FROM head LEFT JOIN meta ON meta.`key` = 'schema'
WHERE head.id = 1 FOR UPDATE"""  # noqa: S608
_COLUMNS: Final = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name IN ({marks}) ORDER BY table_name, ordinal_position"""
_DENIED: Final = 1142
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
        return await self._connection.fetch(_HEAD)

    def moment(self, clock: object) -> int:
        """See `Connection.moment`."""
        return int(str(clock))

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
            if statement == SPELLING.view and error.code == _DENIED:
                # A view is for people's queries: a ledger is as good without it.
                return
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
