"""A tenant's live schema, and its mark, in few queries.

The texts of SHOW CREATE are cheap; the columns of information_schema are not. So
the texts are read first, and only a set of them that was not seen before is looked
up in information_schema. Invariant: a prefix tenant's schema holds its own tables
alone, with the prefix as `{prefix}`; no database name, definer or counter is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.url import MysqlUrl
from ledger.engines.base import Target
from ledger.engines.mysql.schema import catalog
from ledger.engines.mysql.schema.claims import Claims, Whose
from ledger.engines.mysql.schema.model import NOTHING, Claimed, Listing, State, Strangers
from ledger.engines.mysql.schema.objects import Names, normalised
from ledger.engines.mysql.schema.programs import has_libraries, passes, program_text
from ledger.engines.mysql.shared import Shared
from ledger.events import Mark
from ledger.schema import fingerprint
from ledger.scripts.touching import Touched

LIST_TABLES: Final = """
SELECT TABLE_NAME, TABLE_TYPE, COALESCE(DATA_LENGTH, 0) + COALESCE(INDEX_LENGTH, 0)
FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE(){tables}
"""
LIST_ALL: Final = (
    LIST_TABLES
    + """
UNION ALL
SELECT ROUTINE_NAME, ROUTINE_TYPE, 0
FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE(){routines}
UNION ALL
SELECT EVENT_NAME, 'EVENT', 0
FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE(){events}
"""
)
LIST_LIBRARIES: Final = """
UNION ALL
SELECT LIBRARY_NAME, 'LIBRARY', 0
FROM information_schema.LIBRARIES WHERE LIBRARY_SCHEMA = DATABASE(){libraries}
"""
OWN: Final = {
    "{tables}": " AND LEFT(TABLE_NAME, {length}) = %s",
    "{routines}": " AND LEFT(ROUTINE_NAME, {length}) = %s",
    "{events}": " AND LEFT(EVENT_NAME, {length}) = %s",
    "{libraries}": " AND LEFT(LIBRARY_NAME, {length}) = %s",
}
"""Not LIKE: what escapes its wildcards depends on the session's sql_mode."""
FOLDS_CASE: Final = "SELECT @@lower_case_table_names"
MARKED: Final = """
SELECT id, JSON_EXTRACT(`body`, '$.touches'), JSON_EXTRACT(`body`, '$.touched') FROM {marker} WHERE id <> ''
"""
TRIGGERS: Final = "SHOW TRIGGERS"
NAMES: Final = "SHOW TABLES"
WITH_PROGRAMS: Final = """
SELECT ROUTINE_SCHEMA FROM information_schema.ROUTINES
UNION
SELECT EVENT_SCHEMA FROM information_schema.EVENTS
"""
WITH_LIBRARIES: Final = "UNION SELECT LIBRARY_SCHEMA FROM information_schema.LIBRARIES"
PROGRAMS: Final = frozenset(
    {"LIBRARY", "PROCEDURE", "FUNCTION", "PACKAGE", "PACKAGE BODY", "EVENT"}
)

Row = tuple[Any, ...]

_TOUCHES: Final = msgspec.json.Decoder(Touched)
_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])


class SchemaReader:
    """Reads one tenant's schema; `shared` keeps what equal tenants turned out to be."""

    def __init__(self, target: Target, names: Names, marker: str, shared: Shared) -> None:
        self._target = target
        self._names = names
        self._marker = marker
        self._shared = shared
        self._at_work = Touched()
        self._folds: bool | None = None

    def work_on(self, touched: Touched) -> None:
        """Count what a migration touches as the tenant's, before its marker says so."""
        self._at_work = touched

    async def mark(self, connection: MysqlConnection) -> Mark:
        """The fingerprint and size now."""
        return (await self.state(connection)).mark

    async def state(
        self, connection: MysqlConnection, *, also: Claimed = NOTHING, but: Iterable[str] = ()
    ) -> State:
        """All of what the tenant is, read now; `also` and `but` as for `listing`."""
        listing = await self.listing(connection, also=also, but=but)
        texts = await self._texts(connection, listing)
        known = self._shared.schemas.find(texts)
        if known is None:
            schema = await catalog.read(connection, listing, self._names)
            known = (fingerprint(schema), schema)
            self._shared.schemas.keep(texts, known)
        return State(
            mark=Mark(fingerprint=known[0], bytes=listing.bytes),
            schema=known[1],
            texts=texts,
            names=frozenset(self._names.neutral(name) for name in listing.names),
        )

    async def expected_state(self, connection: MysqlConnection, expected: State) -> State | None:
        """The tenant's state if its names are those of `expected`, which equal work has led to elsewhere."""
        listing = await self.listing(connection, programs=False)
        names = frozenset(self._names.neutral(name) for name in listing.names)
        if names != expected.names:
            return None
        return msgspec.structs.replace(
            expected, mark=Mark(fingerprint=expected.mark.fingerprint, bytes=listing.bytes)
        )

    async def listing(
        self,
        connection: MysqlConnection,
        *,
        programs: bool = True,
        also: Claimed = NOTHING,
        but: Iterable[str] = (),
    ) -> Listing:
        """The names of what is the tenant's own; routines, events and triggers with `programs` only.

        `also` settles further names, those in `but` do not count.
        """
        prefix = self._target.prefix
        sql = LIST_ALL if programs else LIST_TABLES
        sql += LIST_LIBRARIES if programs and has_libraries(connection) else ""
        arguments = (prefix,) * sql.count("{") if prefix else None
        for place, condition in OWN.items():
            sql = sql.replace(place, condition.format(length=len(prefix)) if prefix else "")
        rows = await connection.fetch(sql, arguments)
        all_names = tuple(str(row[0]) for row in rows)
        rows = [row for row in rows if row[0] != self._marker]
        unclear: list[tuple[str, str]] = []
        if prefix:
            whose = await self._judge(connection, all_names, also)
            judged = [(row, whose(row[1] in PROGRAMS, str(row[0]))) for row in rows]
            rows = [row for row, word in judged if word == "own" and row[0] not in but]
            unclear = [(str(row[1]), str(row[0])) for row, word in judged if word == "unclear"]
        tables = [row for row in rows if row[1] not in PROGRAMS]
        names = {str(row[0]) for row in tables}
        found: list[Row] = []
        if names and programs:
            found = [row for row in await connection.fetch(TRIGGERS) if row[2] in names]
        return Listing(
            tables=tuple(sorted(row[0] for row in tables if row[1] not in ("VIEW", "SEQUENCE"))),
            views=tuple(sorted(row[0] for row in tables if row[1] == "VIEW")),
            sequences=tuple(sorted(row[0] for row in tables if row[1] == "SEQUENCE")),
            triggers=tuple(sorted(found, key=lambda row: str(row[0]))),
            programs=tuple(sorted((row[1], row[0]) for row in rows if row[1] in PROGRAMS)),
            bytes=int(sum(row[2] for row in rows)),
            all_names=all_names,
            unclear=tuple(sorted(unclear)),
        )

    async def _judge(
        self, connection: MysqlConnection, names: Sequence[str], also: Claimed
    ) -> Callable[[bool, str], Whose]:
        """Says whose a name with the prefix is; the case of routines and events never counts."""
        if self._folds is None:
            self._folds = (await connection.fetch(FOLDS_CASE))[0][0] != 0
        ids = set(also.ids)
        by_python = Touched()
        if self._marker in names and self._target.touches:
            sql = MARKED.replace("{marker}", quote_identifier(self._marker))
            for entry, touches, touched in await connection.fetch(sql):
                ids.add(str(entry))
                by_python |= _TOUCHES.decode(touches or "{}")
                by_python |= Touched(found=frozenset(_NAMES.decode(touched or "[]")))
        known = self._target.touches
        all_touches = [self._at_work, by_python, *(known[name] for name in ids if name in known)]
        of_tables = Claims(self._target, names, all_touches, also=also.names, folds=self._folds)
        of_programs = Claims(self._target, names, all_touches, also=also.names, folds=True)
        return lambda program, name: (of_programs if program else of_tables).whose(name)

    async def fresh_listing(self, connection: MysqlConnection) -> Listing:
        """`listing` of a tenant that is most often empty, which a cheap statement shows.

        information_schema's temporary tables cost a server more than the tables of a small
        tenant do, so that routines and events are asked for once for all its databases.
        """
        names = tuple(str(row[0]) for row in await connection.fetch(NAMES))
        if set(names) <= {self._marker} and not await self._has_programs(connection):
            return Listing(
                tables=(),
                views=(),
                sequences=(),
                triggers=(),
                programs=(),
                bytes=0,
                all_names=names,
            )
        return await self.listing(connection)

    async def strangers(
        self, connection: MysqlConnection, names: Sequence[str], also: Claimed
    ) -> Strangers:
        """Those of `names` that are not the tenant's own by now."""
        own_marker = tuple(name for name in names if name == self._marker)
        if not self._target.prefix:
            return Strangers(others=own_marker)
        listing = await self.listing(connection, programs=False)
        whose = await self._judge(connection, listing.all_names, also)
        words = {name: whose(False, name) for name in names}
        return Strangers(
            others=own_marker + tuple(name for name in names if words[name] == "other"),
            unclear=tuple(name for name in names if words[name] == "unclear"),
        )

    async def _has_programs(self, connection: MysqlConnection) -> bool:
        async def ask() -> frozenset[str]:
            more = WITH_LIBRARIES if has_libraries(connection) else ""
            rows = await connection.fetch(WITH_PROGRAMS + more)
            return frozenset(str(row[0]).lower() for row in rows)

        url = self._target.url
        account = f"{url.user}@{url.server}" if isinstance(url, MysqlUrl) else ""
        return self._names.database.lower() in await self._shared.programs(account, ask)

    async def _texts(self, connection: MysqlConnection, listing: Listing) -> str:
        """A hash over what the server itself says of all objects."""
        digest = hashlib.sha256(connection.server.text.encode())
        for name in listing.names:
            rows = await connection.fetch(f"SHOW CREATE TABLE {quote_identifier(name)}")
            self._add(digest, name, str(rows[0][1]))
        for name in listing.sequences:
            self._add(digest, name, await catalog.sequence_steps(connection, name))
        for row in listing.triggers:
            self._add(digest, *(str(cell) for cell in (*row[:5], row[6])))
        for kind, name in listing.programs:
            text = await program_text(connection, kind, name)
            if not passes(text):
                self._add(digest, kind, name, text)
        return digest.hexdigest()

    def _add(self, digest: Any, *parts: str) -> None:
        for part in parts:
            digest.update(normalised(part, self._names).encode("utf-8", "surrogateescape"))
            digest.update(b"\0")
