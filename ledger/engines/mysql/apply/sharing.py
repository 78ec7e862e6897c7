"""Whether a rollback undoes what a statement does, so that it can share a transaction with the marker."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, Literal

import msgspec

from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.effects import called
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.steps import Step
from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import QueryError

Calls = Literal["nothing", "undone", "anything"]
"""What the functions that a statement calls do: nothing but compute, only what a rollback undoes, or more."""

TRANSACTIONAL: Final = ("innodb", "rocksdb", "tokudb", "ndbcluster")
ENGINE_OF: Final = """
SELECT ENGINE, EXISTS (
  SELECT 1 FROM information_schema.TRIGGERS
  WHERE EVENT_OBJECT_SCHEMA = COALESCE(%s, DATABASE()) AND EVENT_OBJECT_TABLE = %s
)
FROM information_schema.TABLES WHERE TABLE_SCHEMA = COALESCE(%s, DATABASE()) AND TABLE_NAME = %s
"""
TRIGGERED: Final = "(its triggers)"
"""Stands for the engine of a table whose triggers write what no rollback undoes."""

TRIGGERS: Final = """
SELECT LOWER(EVENT_OBJECT_TABLE), ACTION_STATEMENT FROM information_schema.TRIGGERS
WHERE TRIGGER_SCHEMA = DATABASE()
"""
BEYOND: Final = """
SELECT LOWER(TABLE_NAME) FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE()
  AND (TABLE_TYPE = 'VIEW' OR LOWER(ENGINE) NOT IN ('innodb', 'rocksdb', 'tokudb', 'ndbcluster'))
UNION ALL SELECT LOWER(ROUTINE_NAME) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()
"""
OTHER_DATABASES: Final = """
SELECT LOWER(SCHEMA_NAME) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME <> DATABASE()
"""
BODIES: Final = """
SELECT LOWER(ROUTINE_NAME), ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()
"""
VIEWS: Final = """
SELECT LOWER(TABLE_NAME), VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA IN (DATABASE(){owners})
"""
_READS: Final = re.compile(r"\b(?:FROM|JOIN|TABLE)\b", re.IGNORECASE)
_READS_MORE: Final = re.compile(r"\b(?:SELECT|JOIN|TABLE)\b", re.IGNORECASE)
"""What a statement of rows reads beside its target."""

_LASTING: Final = frozenset(
    {"outfile", "dumpfile", "nextval", "setval", "lastval", "execute", "prepare"}
)
"""Words of a routine that may do what no rollback undoes, or whose text does not show what it does."""

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
    """A table's storage engine in small letters; empty for a view, None for what is not there, and
    TRIGGERED where its triggers may write what no rollback undoes.
    """
    owner, _, bare = name.rpartition(".")
    rows = await connection.fetch(ENGINE_OF, (owner or None, bare) * 2)
    if not rows:
        return None
    engine, triggered = rows[0]
    if triggered and (owner or await _triggers_reach_beyond(connection, bare.lower())):
        return TRIGGERED
    return str(engine or "").lower()


async def _triggers_reach_beyond(connection: MysqlConnection, table: str) -> bool:
    """Whether the table's triggers, and those of the tables that they write, name a table without transactions,
    a view, a routine, or another database.
    """
    triggers = [(str(on), _words(text)) for on, text in await connection.fetch(TRIGGERS)]
    reached = {table}
    named: set[str] = set()
    while more := [words for on, words in triggers if on in reached and not words <= named]:
        named = named.union(*more)
        reached |= named
    others = {str(name) for (name,) in await connection.fetch(OTHER_DATABASES)}
    if named & others:
        return True
    if not await any_other_table(connection):
        return False
    return bool(named & {str(name) for (name,) in await connection.fetch(BEYOND)})


async def rollback_undoes_call(connection: MysqlConnection, name: str) -> bool:
    """Whether a rollback undoes what the procedure does, as long as that does not commit by itself."""
    if "." in name or await any_other_table(connection):
        return False
    rows = await connection.fetch(BODIES)
    return not any(text is None or _words(text) & _LASTING for _, text in rows)


def _words(text: object) -> set[str]:
    found = SYNTAX.tokens(str(text or ""))
    return {token.text.lower() for token in found if token.kind in ("word", "quoted")}


async def rows_share_transaction(
    connection: MysqlConnection, storage: dict[str, str], step: Step, kind: StatementKind
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
    return await calls_of_rows(connection, step, kind) != "anything"


async def any_other_table(connection: MysqlConnection) -> bool:
    """Whether the database has a table of which a rollback undoes nothing."""
    return bool(await connection.fetch(OTHER_TABLE))


async def calls(connection: MysqlConnection, step: Step, kind: StatementKind) -> Calls:
    """What the functions do that the statement calls, also by the views that it reads.

    A stored one of the tenant's own can write into the tenant's tables, and a rollback undoes that
    unless one of these has no transactions; of any other one nothing is known.
    """
    of_views = await _called_by_views(connection, step, kind)
    if of_views is None:
        return "anything"
    if not (kind.calls or of_views):
        return "nothing"
    called = [name.lower().rpartition(".") for name in (*kind.calls, *of_views)]
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


async def calls_of_rows(connection: MysqlConnection, step: Step, kind: StatementKind) -> Calls:
    """What the functions do that a statement of rows calls."""
    names = tuple(name for name in called(step.readable) if name != kind.target)
    return await calls(connection, step, msgspec.structs.replace(kind, calls=names))


async def _called_by_views(
    connection: MysqlConnection, step: Step, kind: StatementKind
) -> tuple[str, ...] | None:
    """As `Effects.calls`: what the views call that a question or a statement of rows reads, through
    other views too. None where the account may not see a view's text.
    """
    asks = kind.fills or kind.kind in ("query", "session", "dml")
    pattern = _READS_MORE if kind.kind == "dml" else _READS
    if not asks or pattern.search(step.sql) is None:
        return ()
    words = [token.text.lower() for token in SYNTAX.tokens(step.readable)]
    owners = sorted({word for word, after in pairwise(words) if after == "."})
    places = "".join([", %s"] * len(owners))
    rows = await connection.fetch(VIEWS.replace("{owners}", places), owners)
    left = {str(name): str(text or "") for name, text in rows}
    found: dict[str, None] = {}
    named = set(words)
    while read := named & left.keys():
        for text in map(left.pop, sorted(read)):
            if not text:
                return None
            found.update(dict.fromkeys(called(text)))
            named |= _words(text)
    return tuple(found)


async def _loaded(connection: MysqlConnection, names: list[str], places: str) -> bool:
    """Whether one is a loadable function. Who may not ask that has most likely not loaded any."""
    try:
        return bool(await connection.fetch(LOADED.replace("{names}", places), names))
    except QueryError:
        return False
