"""A ledger: append, read, projections, texts; in whatever database holds it.

Invariant: whoever holds the head row, and nobody else, appends, so that `seq` is gapless and in
commit order; an append is reported only after its commit is durable; one whose outcome got
lost is settled by the hash of its last row; nothing is ever changed or deleted.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from ledger import failpoints
from ledger.errors import ChainBrokenError, DuplicateKeyError, StoreError
from ledger.events import Recorded
from ledger.projections import Fact
from ledger.stores.appender import Appender
from ledger.stores.base import (
    PAGE_EVENTS,
    PAGE_SCRIPTS,
    Append,
    Connection,
    Database,
    Filter,
    Head,
    Prepared,
    Row,
    Script,
    StoredProjection,
)
from ledger.stores.blocks import rebuild, summarise
from ledger.stores.chain import Chained, chain_batch, new_scripts
from ledger.stores.filters import marks, pages
from ledger.stores.known import Known
from ledger.stores.reading import Reader
from ledger.stores.schema import (
    EVENTS,
    ID_KEY,
    META,
    NAMES,
    PARTS,
    PROJECTION_KEY,
    PROJECTIONS,
    SCHEMA_KEY,
    SCRIPTS,
    Upgrade,
    open_tables,
    projection_seq,
    refuse_newer,
)
from ledger.stores.upgrade import OldEvents, old_events, rewrite_events
from ledger.stores.walking import Walked, walk

_DIGEST: Final = re.compile("[0-9a-f]{64}")
SCRIPTS_REMEMBERED: Final = 50_000
PAGE_KEYS: Final = 1_000
"""Keys looked up by one query."""

T = TypeVar("T")

_HEAD: Final = "SELECT seq, hash FROM head"
_SET_HEAD: Final = "UPDATE head SET seq = ?, hash = ? WHERE id = 1"
_SCRIPT: Final = "SELECT {content} FROM scripts WHERE sha256 = ?"
_SCRIPTS: Final = "SELECT sha256, {content} FROM scripts WHERE sha256 > ? ORDER BY sha256 LIMIT ?"
_KNOWN_SCRIPTS: Final = "SELECT sha256 FROM scripts WHERE sha256 IN ({marks})"
_HASH: Final = "SELECT hash FROM events WHERE seq = ?"
_LOAD_PROJECTION: Final = """
SELECT meta.value, projections.key, projections.state
FROM meta LEFT JOIN projections ON projections.name = ?{keys}
WHERE meta.key = ?"""
_PROJECTION_KEYS: Final = """
SELECT projections.key FROM projections
WHERE name = ? AND projections.key >= ? AND projections.key < ? ORDER BY projections.key DESC"""
_PROJECTION_META: Final = "SELECT meta.key, meta.value FROM meta WHERE meta.key IN (?, ?) {lock}"
_DROP_PROJECTION: Final = "DELETE FROM projections WHERE name = ?"


class Store:
    """A ledger that is open. Made by `open_store`.

    `url` is redacted: it never holds a password. `ledger_id` (32 hex digits) was
    drawn when the ledger was made: it distinguishes ledgers.
    """

    def __init__(self, database: Database, *, schema: int) -> None:
        self.url = database.url
        self.ledger_id = ""
        self.appender = Appender(self._commit, refuse=database.refuse)
        self._database = database
        self._schema = schema
        self._content = database.spelling.as_bytes.format(column="content")
        self._scripts: set[str] = set()
        self._known = Known()
        self._reader = Reader(database.fetch)

    async def open(self, *, create: bool, upgrades: Sequence[Upgrade]) -> None:
        """Find or make the ledger, and bring an older one forward."""
        await self._database.open(create=create)
        meta = await open_tables(
            self._database,
            create=create,
            schema=self._schema,
            upgrades=upgrades,
            rewrite=rewrite_events,
        )
        self.ledger_id = meta[ID_KEY]

    async def aclose(self) -> None:
        """Finish what is queued, within a deadline, and close. May be called twice."""
        await self.appender.aclose()
        await self._database.aclose()

    async def append(self, request: Append | Prepared) -> tuple[Recorded, ...]:
        """Append durably, together with whatever else is waiting (group commit).

        What `prepare` made of a request elsewhere is neither encoded nor decoded again.

        A lone append waits for nobody. One whose acknowledgement got lost is looked for, and
        appended again only if it is not there. Raises ConflictError (the other requests of the
        same batch are not affected), NewerLedgerError, StoreUnavailableError.
        """
        return await self.appender.append(request)

    async def append_all(
        self, requests: Sequence[Prepared]
    ) -> Sequence[tuple[Recorded, ...] | StoreError]:
        """Append many at once, in as few commits as they fit in; for each, in order, what became of it.

        What was recorded, or the error that `append` would have raised: one refusal leaves the
        others alone. Raises StoreError for a request that could never be held.
        """
        return await self.appender.append_all(requests)

    async def read(
        self, where: Filter = Filter(), *, batch: int = PAGE_EVENTS
    ) -> AsyncGenerator[list[Recorded], None]:
        """Matching events in seq order, in lists of at most `batch`."""
        async for rows in pages(self._database, where, batch):
            yield await self._reader.recorded(rows)

    async def read_facts(
        self, where: Filter = Filter(), *, batch: int = PAGE_EVENTS
    ) -> AsyncGenerator[list[Fact], None]:
        """As `read`, of each event only what a fold needs."""
        async for rows in pages(self._database, where, batch):
            yield await self._reader.facts(rows)

    async def walk(self) -> AsyncGenerator[Walked, None]:
        """The whole ledger as it is stored, for a check of its chain."""
        async for walked in walk(self._database):
            yield walked

    async def rebuild_blocks(self) -> None:
        """Write anew which blocks of events hold what, from the events."""

        async def work(connection: Connection, _: bool) -> None:
            await rebuild(connection)

        await self._database.write(work)

    async def old_events(self) -> AsyncGenerator[OldEvents, None]:
        """What a ledger that was upgraded keeps of its events of schema 1, in seq order."""
        async for old in old_events(self._database):
            yield old

    async def facts(self, walked: Walked) -> list[Fact]:
        """What `read_facts` gives of these rows."""
        return await self._reader.facts(walked.rows)

    async def head(self) -> Head:
        """The head row. Raises ChainBrokenError if it is gone."""

        async def read(connection: Connection) -> Head:
            return _head(await connection.execute(_HEAD))

        return await self._database.read(read)

    async def script(self, sha256: str) -> str | None:
        """A stored text, or None. Bytes that are no UTF-8, which no store writes, are replaced."""
        sql = _SCRIPT.format(content=self._content)
        rows = await self._database.fetch(sql, (sha256,))
        return rows[0][0].decode(errors="replace") if rows else None

    async def scripts(self) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        """All stored texts, as key and content, in lists of a few."""
        sql = _SCRIPTS.format(content=self._content)
        after = ""
        while rows := await self._database.fetch(sql, (after, PAGE_SCRIPTS)):
            yield [(str(key), content) for key, content in rows]
            after = rows[-1][0]

    async def now(self) -> datetime:
        """The clock that stamps events (UTC): the ledger server's, or this host's for a file."""
        return await self._database.now()

    async def load_projection(
        self, name: str, keys: Sequence[str] | None = None
    ) -> tuple[int, list[StoredProjection]]:
        """The seq a projection stands at (0 if it was never stored) and its rows, of one moment.

        With `keys` only those rows, by their index; at most `PAGE_KEYS`.
        """
        wanted = () if keys is None else tuple(keys)
        only = "" if keys is None else f" AND projections.key IN ({marks(wanted) or 'NULL'})"
        sql = _LOAD_PROJECTION.format(keys=only)

        async def load(connection: Connection) -> list[Row]:
            return await connection.execute(sql, (name, *wanted, PROJECTION_KEY + name))

        rows = await self._database.read(load)
        if not rows:
            return 0, []
        return projection_seq(rows[0][0]), [
            StoredProjection(key=key, state=state) for _, key, state in rows if key is not None
        ]

    async def projection_keys(self, name: str, *, prefix: str, limit: int = -1) -> list[str]:
        """The keys of a projection's rows that begin with `prefix`, the last ones first."""
        more = (limit,) if limit >= 0 else ()
        sql = _PROJECTION_KEYS + (" LIMIT ?" if more else "")
        values = (name, prefix, prefix + "\U0010ffff", *more)
        return [str(key) for (key,) in await self._database.fetch(sql, values)]

    async def save_projection(
        self, name: str, *, base_seq: int, seq: int, changed: Sequence[StoredProjection]
    ) -> bool:
        """Upsert rows and move the projection from `base_seq` to `seq`, in one transaction.

        Returns False, having stored nothing, if it no longer stands at `base_seq`; so it may also
        do after a lost acknowledgement. With `base_seq` -1 all its rows are replaced whatever it
        stood at. Raises NewerLedgerError: a newer version's projections are not ours to write.
        """
        key = PROJECTION_KEY + name

        async def save(connection: Connection, _: bool) -> bool:
            sql = _PROJECTION_META.format(lock=self._database.spelling.lock)
            meta: dict[str, str] = dict(await connection.execute(sql, (SCHEMA_KEY, key)))
            refuse_newer(int(meta[SCHEMA_KEY]), self._schema)
            if base_seq == -1:
                await connection.execute(_DROP_PROJECTION, (name,))
            elif base_seq != projection_seq(meta.get(key, 0)):
                return False
            rows = [(name, stored.key, stored.state, seq) for stored in changed]
            await connection.insert(PROJECTIONS, rows, replace=True)
            await connection.insert(META, [(key, str(seq))], replace=True)
            return True

        return await self._database.write(save)

    async def _commit(self, batch: Sequence[Prepared]) -> Chained:
        """Append a batch in one transaction. That a stream is new where a request says so is what
        nearly always holds: the unique index proves it, and only where it refuses a row is that
        looked up.
        """
        attempt: Chained | None = None

        async def append(connection: Connection, again: bool, *, prove: bool = False) -> Chained:
            nonlocal attempt
            landed = attempt if again else None
            attempt = await self._append(connection, batch, landed, prove=prove)
            return attempt

        async def append_after_look(connection: Connection, again: bool) -> Chained:
            return await append(connection, again, prove=True)

        try:
            chained = await self._database.write(append)
        except DuplicateKeyError:
            chained = await self._database.write(append_after_look)
        failpoints.reach("store.after_commit")
        self._known.settled(chained.head)
        if len(self._scripts) > SCRIPTS_REMEMBERED:
            self._scripts.clear()
        self._scripts.update(
            script.sha256 for script in new_scripts(batch, chained.outcomes, self._scripts)
        )
        return chained

    async def _append(
        self,
        connection: Connection,
        batch: Sequence[Prepared],
        attempt: Chained | None,
        *,
        prove: bool,
    ) -> Chained:
        """The batch, chained onto what the ledger holds once the head row is locked, and inserted;
        or an earlier `attempt`, if that has been committed after all.
        """
        rows = await connection.lock_head()
        head, at = _head(rows), rows[0][3]
        refuse_newer(int(rows[0][2]), self._schema)
        if attempt is not None and await _landed(connection, attempt):
            return attempt
        known = self._known
        known.move(head)
        if wanted := known.missing(batch, prove=prove):
            sql, values = known.question(wanted, self._database.spelling.clock)
            at = connection.moment(known.learn(await connection.execute(sql, values)))
        chained = chain_batch(head, batch, known, at)
        for part in _parts(new_scripts(batch, chained.outcomes, self._scripts)):
            await _insert_scripts(connection, part)
        if chained.rows:
            if chained.names:
                await connection.insert(NAMES, chained.names)
            if chained.parts:
                await connection.insert(PARTS, chained.parts)
            await connection.insert(EVENTS, chained.rows)
            await summarise(connection, head.seq, chained.head.seq)
            await connection.execute(_SET_HEAD, (chained.head.seq, chained.head.hash))
        failpoints.reach("store.before_commit")
        return chained


async def _landed(connection: Connection, attempt: Chained) -> bool:
    """Whether the ledger holds this very append: its last hash depends on all that is before it."""
    if not attempt.rows:
        return False
    seq, digest = attempt.rows[-1][0], attempt.rows[-1][-1]
    return [tuple(row) for row in await connection.execute(_HASH, (seq,))] == [(digest,)]


async def _insert_scripts(connection: Connection, scripts: Sequence[Script]) -> None:
    """Insert the texts that are not there; under the head row's lock nobody else adds any."""
    keys = [script.sha256 for script in scripts]
    rows = await connection.execute(_KNOWN_SCRIPTS.format(marks=marks(keys)), keys)
    known = {key for (key,) in rows}
    missing = [
        (script.sha256, script.algorithm, script.content)
        for script in scripts
        if script.sha256 not in known
    ]
    await connection.insert(SCRIPTS, missing)


def _parts(values: Sequence[T]) -> Iterable[Sequence[T]]:
    return (values[start : start + PAGE_KEYS] for start in range(0, len(values), PAGE_KEYS))


def _head(rows: Sequence[Row]) -> Head:
    """The head row as what it should be. Raises ChainBrokenError: SQLite keeps a word in a column of numbers."""
    if not rows:
        raise ChainBrokenError(
            "the ledger's head row is missing",
            seq=0,
            hint="Run `ledger verify`, and restore the ledger from a copy.",
        )
    seq, last_hash = rows[0][:2]
    if isinstance(seq, int) and isinstance(last_hash, str) and _DIGEST.fullmatch(last_hash):
        return Head(seq=seq, hash=last_hash)
    raise ChainBrokenError(
        f"the ledger's head row cannot be read: seq {seq!r}, hash {last_hash!r}",
        seq=0,
        hint="Put back a copy of the ledger.",
    )
