"""A tenant's live schema, and its mark, in few queries.

The texts of SHOW CREATE are cheap; the columns of information_schema are not. So
the texts are read first, and only a set of them that was not seen before is looked
up in information_schema. Invariant: a prefix tenant's schema holds its own tables
alone, with the prefix as `{prefix}`; no database name, definer or counter is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ledger.drivers.mysql import MysqlConnection, QueryError, escape_like, quote_identifier
from ledger.engines.base import MARKER_TABLE, Target
from ledger.engines.mysql import catalog
from ledger.engines.mysql.objects import Names, normalised
from ledger.engines.mysql.shared import Shared
from ledger.events import Mark
from ledger.schema import Definition, Schema, fingerprint

LIST: Final = """
SELECT TABLE_NAME, TABLE_TYPE, COALESCE(DATA_LENGTH, 0) + COALESCE(INDEX_LENGTH, 0)
FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE(){own}
"""
TRIGGERS: Final = "SHOW TRIGGERS"
ROUTINES: Final = """
SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES
WHERE ROUTINE_SCHEMA = DATABASE(){own}
UNION ALL
SELECT 'EVENT', EVENT_NAME FROM information_schema.EVENTS
WHERE EVENT_SCHEMA = DATABASE(){events}
"""

Row = tuple[Any, ...]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What is the tenant's own: names of tables and views, triggers as rows, programs as (kind, name)."""

    tables: tuple[str, ...]
    views: tuple[str, ...]
    sequences: tuple[str, ...]
    triggers: tuple[Row, ...]
    programs: tuple[tuple[str, str], ...]
    bytes: int

    @property
    def empty(self) -> bool:
        """Whether the tenant has nothing but, perhaps, its marker."""
        return not (self.tables or self.views or self.sequences or self.triggers or self.programs)


class SchemaReader:
    """Reads one tenant's schema; `shared` keeps what equal tenants turned out to be."""

    def __init__(self, target: Target, names: Names, marker: str, shared: Shared) -> None:
        self._target = target
        self._names = names
        self._marker = marker
        self._shared = shared

    async def mark(self, connection: MysqlConnection) -> tuple[Mark, Schema]:
        """The fingerprint and size now, and the schema behind it."""
        listing = await self.listing(connection)
        texts = await self._texts(connection, listing)
        known = self._shared.schema_of(texts)
        if known is None:
            schema = await catalog.read(connection, listing, self._names)
            known = (fingerprint(schema), schema)
            self._shared.keep(texts, *known)
        return Mark(fingerprint=known[0], bytes=listing.bytes), known[1]

    async def schema(self, connection: MysqlConnection) -> Schema:
        """The schema alone."""
        return (await self.mark(connection))[1]

    async def listing(self, connection: MysqlConnection) -> Listing:
        """The names of what is the tenant's own."""
        rows = await self._fetch_like(connection, LIST, "TABLE_NAME")
        neighbours = self._neighbours([str(row[0]) for row in rows])
        rows = [row for row in rows if row[0] != self._marker and self._own(row[0], neighbours)]
        names = {str(row[0]) for row in rows}
        triggers = [row for row in await connection.fetch(TRIGGERS) if row[2] in names]
        programs = await self._fetch_like(connection, ROUTINES, "ROUTINE_NAME")
        return Listing(
            tables=tuple(sorted(row[0] for row in rows if row[1] not in ("VIEW", "SEQUENCE"))),
            views=tuple(sorted(row[0] for row in rows if row[1] == "VIEW")),
            sequences=tuple(sorted(row[0] for row in rows if row[1] == "SEQUENCE")),
            triggers=tuple(sorted(triggers, key=lambda row: str(row[0]))),
            programs=tuple(
                sorted((row[0], row[1]) for row in programs if self._own(row[1], neighbours))
            ),
            bytes=int(sum(row[2] for row in rows)),
        )

    async def _fetch_like(self, connection: MysqlConnection, sql: str, column: str) -> list[Row]:
        prefix = self._target.prefix
        own, events, arguments = "", "", None
        if prefix:
            own, events = f" AND {column} LIKE %s", " AND EVENT_NAME LIKE %s"
            arguments = (escape_like(prefix) + "%",) * sql.count("{own}") + (
                escape_like(prefix) + "%",
            ) * sql.count("{events}")
        text = sql.replace("{own}", own).replace("{events}", events)
        rows = await connection.fetch(text, arguments)
        # LIKE follows the collation, which may not tell A from a.
        return [row for row in rows if any(str(cell).startswith(prefix) for cell in row[:2])]

    def _neighbours(self, tables: Sequence[str]) -> tuple[str, ...]:
        """Longer prefixes of other tenants: those configured, and those whose marker is here."""
        prefix = self._target.prefix
        longer = {one for one in self._target.neighbours if len(one) > len(prefix)}
        if prefix:
            longer |= {
                name.removesuffix(MARKER_TABLE)
                for name in tables
                if name.endswith(MARKER_TABLE) and name != self._marker
            }
        return tuple(one for one in longer if one.startswith(prefix))

    def _own(self, name: str, neighbours: Sequence[str]) -> bool:
        return name.startswith(self._target.prefix) and not any(
            name.startswith(other) for other in neighbours
        )

    async def _texts(self, connection: MysqlConnection, listing: Listing) -> str:
        """A hash over what the server itself says of all objects."""
        digest = hashlib.sha256(connection.server.text.encode())
        for name in (*listing.tables, *listing.views, *listing.sequences):
            rows = await connection.fetch(f"SHOW CREATE TABLE {quote_identifier(name)}")
            self._add(digest, name, str(rows[0][1]))
        for row in listing.triggers:
            self._add(digest, *(str(cell) for cell in (*row[:5], row[6])))
        for kind, name in listing.programs:
            self._add(digest, kind, name, await program_text(connection, kind, name))
        return digest.hexdigest()

    def _add(self, digest: Any, *parts: str) -> None:
        for part in parts:
            digest.update(normalised(part, self._names).encode("utf-8", "surrogateescape"))
            digest.update(b"\0")


async def program_text(connection: MysqlConnection, kind: str, name: str) -> str:
    """SHOW CREATE of a routine or event with its sql_mode; its name alone if the account may not read it."""
    column = 3 if kind == "EVENT" else 2
    try:
        rows = await connection.fetch(f"SHOW CREATE {kind} {quote_identifier(name)}")
    except QueryError:
        return "(not readable)"
    if not rows or rows[0][column] is None:
        return "(not readable)"
    return f"{rows[0][1]}\n{rows[0][column]}"


def definition(kind: str, name: str, text: str, names: Names) -> Definition:
    """An object that is its text, comparable over tenants; white space does not count."""
    return Definition(
        kind=kind.lower(),
        name=names.neutral(name),
        text=" ".join(normalised(text, names).split()),
    )
