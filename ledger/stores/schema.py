"""The ledger's own tables, in one place for all databases: made, recognised, and brought forward.

Invariant: the schema number is written last, so that a database without it holds no ledger yet;
an older ledger is brought forward one number at a time and in order; a newer one is never written to.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from ledger.errors import ChainBrokenError, NewerLedgerError, StoreError
from ledger.events import GENESIS_HASH, time_text
from ledger.stores.base import LEDGER_SCHEMA, Connection, Database, Spelling, Table

SCHEMA_KEY: Final = "schema"
ID_KEY: Final = "ledger_id"
CREATED_KEY: Final = "created_at"
UPGRADING: Final = "upgrading"
PROJECTION_KEY: Final = "projection_seq:"
"""Keys of `meta`. The last is followed by a projection's name; the value is the seq it stands at."""

META: Final = Table(
    name="meta",
    columns={"key": "{name_255} PRIMARY KEY", "value": "{name_255} NOT NULL"},
    options="{keyed_table}",
)
HEAD: Final = Table(
    name="head",
    columns={
        "id": "{tiny} PRIMARY KEY CHECK (id = 1)",
        "seq": "{position} NOT NULL",
        "hash": "{digest} NOT NULL",
    },
)
SCRIPTS: Final = Table(
    name="scripts",
    columns={
        "sha256": "{digest} PRIMARY KEY",
        "algorithm": "{code_32} NOT NULL",
        "content": "{long_text} NOT NULL",
    },
)
PROJECTIONS: Final = Table(
    name="projections",
    columns={
        "name": "{name_128} NOT NULL",
        "key": "{name_512} NOT NULL",
        "state": "{bytes} NOT NULL",
        "seq": "{position} NOT NULL",
    },
    constraints=("PRIMARY KEY (name, {key})",),
    options="{keyed_table}",
)
EVENTS: Final = Table(
    name="events",
    columns={
        "seq": "{position} PRIMARY KEY",
        "stream": "{number} NOT NULL",
        "version": "{number} NOT NULL",
        "type": "{small} NOT NULL",
        "at": "{position} NOT NULL",
        "run": "{number} NOT NULL",
        "actor": "{number} NOT NULL",
        "part": "{number} NOT NULL",
        "body": "{long_text} NOT NULL",
        "hash": "{raw_digest}",
    },
    constraints=("UNIQUE{key_stream_version} (stream, version)",),
)
NAMES: Final = Table(
    name="event_names",
    columns={
        "kind": "{small} NOT NULL",
        "id": "{number} NOT NULL",
        "name": "{name_512} NOT NULL",
        "seq": "{position} NOT NULL",
    },
    constraints=("PRIMARY KEY (kind, id)", "UNIQUE{key_name} (kind, name)"),
    options="{keyed_table}",
)
PARTS: Final = Table(
    name="event_parts",
    columns={
        "id": "{number} PRIMARY KEY",
        "type": "{small} NOT NULL",
        "text": "{long_text} NOT NULL",
        "seq": "{position} NOT NULL",
    },
)
SEGMENTS: Final = Table(
    name="event_segments",
    columns={
        "last_seq": "{position} PRIMARY KEY",
        "hash": "{digest} NOT NULL",
        "content": "{bytes} NOT NULL",
    },
)
BLOCKS: Final = Table(
    name="event_blocks",
    columns={
        "block": "{number} NOT NULL",
        "kind": "{small} NOT NULL",
        "value": "{number} NOT NULL",
    },
    constraints=("PRIMARY KEY (block, kind, value)",),
    options="{keyed_table}",
)
TIMES: Final = Table(
    name="event_times",
    columns={
        "block": "{number} PRIMARY KEY",
        "first_at": "{position} NOT NULL",
        "last_at": "{position} NOT NULL",
    },
)
TABLES: Final = {
    table.name: table
    for table in (
        META,
        HEAD,
        SCRIPTS,
        PROJECTIONS,
        NAMES,
        PARTS,
        SEGMENTS,
        BLOCKS,
        TIMES,
        EVENTS,
    )
}
"""`meta` comes first: it is there wherever the making of a ledger has begun."""

REFUSING: Final = ("events", "event_names", "event_parts", "event_segments", "scripts")
"""The tables whose rows the database refuses to change or delete."""


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """What brings a ledger from schema `to - 1` to `to`: statements in the words of `Spelling.words`."""

    to: int
    statements: tuple[str, ...]


UPGRADES: Final[tuple[Upgrade, ...]] = ()


def create_table(table: Table, spelling: Spelling) -> str:
    """The statement that makes a table, unless it is there."""
    words = spelling.words
    width = max(map(len, table.columns))
    lines = [
        f"{words.get(name, name):<{width}} {kind.format_map(words)}"
        for name, kind in table.columns.items()
    ]
    lines += [constraint.format_map(words) for constraint in table.constraints]
    inside = ",\n    ".join(lines)
    options = table.options.format_map(words)
    return f"CREATE TABLE IF NOT EXISTS {table.name} (\n    {inside}\n) {options}".rstrip()


async def open_tables(
    database: Database,
    *,
    create: bool,
    schema: int,
    upgrades: Sequence[Upgrade],
    rewrite: Callable[[Database], Awaitable[None]],
) -> dict[str, str]:
    """Find the ledger's tables, or make them, and bring older ones to `schema`; the ledger's `meta`.

    `rewrite` brings one from schema 1 to 2, or goes on with that.

    Raises NoLedgerError, StoreUnavailableError for another program's tables, and StoreError for
    a schema that no upgrade leads from.
    """

    async def look(connection: Connection) -> dict[str, str] | None:
        return await _read_meta(connection, database)

    async def make(connection: Connection) -> dict[str, str]:
        return await _make_tables(connection, database)

    async def upgrade(connection: Connection) -> dict[str, str]:
        return await _upgrade_tables(connection, database, schema, upgrades)

    meta = await database.read(look)
    if meta is None:
        if not create:
            raise database.missing()
        meta = await database.make(make)
    if meta[SCHEMA_KEY] == "1" or UPGRADING in meta:
        await rewrite(database)
        meta |= {SCHEMA_KEY: "2"}
    if int(meta[SCHEMA_KEY]) < schema:
        meta = await database.make(upgrade)
    return meta


async def _read_meta(connection: Connection, database: Database) -> dict[str, str] | None:
    """The ledger's `meta`, or None where there is none yet, or its making was cut short.

    Raises StoreUnavailableError for a database whose tables are another program's.
    """
    found: dict[str, list[str]] = {}
    for table, column in await connection.columns():
        found.setdefault(str(table).lower(), []).append(str(column).lower())
    if set(found.get(META.name, ())) >= META.columns.keys():
        rows = await connection.execute("SELECT meta.key, meta.value FROM meta")
        meta = {str(key): str(value) for key, value in rows}
        if meta.get(SCHEMA_KEY, "").isdigit() and meta.get(ID_KEY):
            return meta
    for name, columns in found.items():
        if name not in TABLES or columns != list(TABLES[name].columns):
            raise database.foreign()
    return None


async def _make_tables(connection: Connection, database: Database) -> dict[str, str]:
    """Make, or finish making, all tables, unless another process was first."""
    meta = await _read_meta(connection, database)
    if meta is not None:
        return meta
    await make_layout(connection, database.spelling)
    for statement in (*database.triggers, database.spelling.view):
        await connection.change_layout(statement)
    if not await connection.execute("SELECT id FROM head"):
        await connection.insert(HEAD, [(1, 0, GENESIS_HASH)])
    ((clock,),) = await connection.execute(f"SELECT {database.spelling.clock}")
    now = time_text(connection.moment(clock))
    meta = {ID_KEY: uuid.uuid4().hex, CREATED_KEY: now, SCHEMA_KEY: str(LEDGER_SCHEMA)}
    for row in meta.items():
        await connection.insert(META, [row], replace=True)
    return meta


async def make_layout(connection: Connection, spelling: Spelling) -> None:
    """Make the tables that are missing, without what guards them."""
    for table in TABLES.values():
        await connection.change_layout(create_table(table, spelling))


async def _upgrade_tables(
    connection: Connection, database: Database, target: int, upgrades: Sequence[Upgrade]
) -> dict[str, str]:
    """Each number is written after its statements, which run again if that was cut short."""
    meta = await _read_meta(connection, database) or {}
    for upgrade in _pending(int(meta[SCHEMA_KEY]), target, upgrades):
        for statement in upgrade.statements:
            await connection.change_layout(statement.format_map(database.spelling.words))
        meta[SCHEMA_KEY] = str(upgrade.to)
        await connection.execute(
            "UPDATE meta SET value = ? WHERE meta.key = ?", (meta[SCHEMA_KEY], SCHEMA_KEY)
        )
    return meta


def _pending(found: int, target: int, upgrades: Sequence[Upgrade]) -> tuple[Upgrade, ...]:
    """The upgrades that lead from `found` to `target`; none for a newer ledger."""
    by_number = {upgrade.to: upgrade for upgrade in upgrades}
    needed = range(found + 1, target + 1)
    missing = [number for number in needed if number not in by_number]
    if missing:
        raise StoreError(
            f"the ledger has schema {found}, and there is no way from it to schema {missing[0]}",
            hint="Use a version of migration-ledger that still knows this ledger.",
        )
    return tuple(by_number[number] for number in needed)


def projection_seq(value: object) -> int:
    """The seq of a projection, from `meta`. Raises ChainBrokenError for what no store wrote."""
    text = str(value)
    if text.isascii() and text.isdigit():
        return int(text)
    raise ChainBrokenError(
        f"the seq of the stored projections cannot be read: {text!r}",
        seq=0,
        hint="`ledger verify --rebuild` replaces them by a replay of the events.",
    )


def refuse_newer(found: int, known: int) -> None:
    """Raise NewerLedgerError if the ledger's tables are newer than this version knows."""
    if found > known:
        raise NewerLedgerError(
            f"the ledger has schema {found}; this version knows schema {known} and may only read it",
            hint="Upgrade migration-ledger on this host.",
        )
