"""Statements that define objects: CREATE, ALTER, DROP, RENAME, TRUNCATE.

Invariant: a statement may be repeated only where its second run changes nothing; a guard alone does
not say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ledger.dialects.alter import alter_table
from ledger.dialects.kinds import StatementKind, Unsettled
from ledger.dialects.syntax import Syntax
from ledger.dialects.tokens import Cursor, Token

_TABLES: Final = frozenset({"TABLE", "TABLES"})
_MODIFIERS: Final = frozenset(
    {
        "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR", "VIRTUAL", "ONLINE", "OFFLINE", "AGGREGATE", "IGNORE",
        "UNDO", "MATERIALIZED", "EXTERNAL",
    }
)  # fmt: skip
_TEMPORARY: Final = frozenset({"TEMP", "TEMPORARY"})
_DATABASES: Final = frozenset({"database", "schema"})
_SHOWN: Final = frozenset(
    {
        "table", "view", "index", "trigger", "procedure", "function", "event", "package", "package body",
        "sequence", "library",
    }
)  # fmt: skip
"""What a tenant's schema consists of: SHOW CREATE answers whether it is there, and how."""


def create(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """CREATE; the cursor stands after that word, here and below."""
    replaces = cursor.take("OR", "REPLACE")
    temporary = unique = False
    while True:
        if cursor.take_any(_TEMPORARY):
            temporary = True
        elif cursor.peek().upper in _MODIFIERS:
            unique = cursor.next().upper == "UNIQUE" or unique
        elif not _take_option(cursor):
            break
    what = _object(cursor)
    guarded = cursor.guard()
    name = cursor.name()
    owner = cursor.name() if what in ("index", "trigger") and cursor.skip_to("ON") else ""
    traced = not syntax.transactional_ddl
    kind = StatementKind(
        kind="ddl",
        verb="CREATE",
        object=what,
        names=(name,),
        owner=owner,
        touched=(owner,) if what == "index" and owner else tuple(n for n in (name, owner) if n),
        guarded=guarded,
        replaces=replaces,
        temporary=temporary,
        unique=unique,
        redo_safe=guarded or replaces,
    )
    if temporary and what == "table" and traced:
        return _never_again(kind, "temporary", kind="session")
    if replaces and what in ("table", *_DATABASES):
        return _never_again(kind, "not_atomic", destructive=True)
    if replaces and what == "sequence":
        return _never_again(kind, "untraced")
    if what == "table" and traced and _selects(rest := list(cursor.rest())):
        return msgspec.structs.replace(
            kind, fills=True, redo_safe=False, calls=syntax.effects(rest).calls
        )
    if what == "event" and traced and _event(cursor).once:
        return _never_again(kind, "one_time_event")
    loaded = (
        what == "function" and traced and any(token.upper == "SONAME" for token in cursor.rest())
    )
    if loaded or what not in _SHOWN:
        return _outside(kind)
    return kind


def _never_again(found: StatementKind, why: Unsettled, **more: object) -> StatementKind:
    """It may not be repeated, and nothing shows whether it ran."""
    changes: dict[str, Any] = {"redo_safe": False, "unsettled": why} | more
    return msgspec.structs.replace(found, **changes)


def _selects(words: Sequence[Token]) -> bool:
    """Whether CREATE TABLE takes its rows from a query."""
    before = ""
    for token in words:
        if token.upper == "SELECT" or (before == "AS" and token.upper in _ROWS_AFTER_AS):
            return True
        before = token.upper
    return False


_ROWS_AFTER_AS: Final = frozenset({"VALUES", "TABLE", "WITH"})


class _Event(NamedTuple):
    """`once`: it runs once and is gone then. `new` is its new name."""

    once: bool
    new: str


def _event(cursor: Cursor) -> _Event:
    """What stands between an event's name and its body."""
    once = kept = False
    before = new = ""
    while not cursor.at_end and (word := cursor.next().upper) != "DO":
        if before == "SCHEDULE":
            once = word == "AT"
        elif word == "PRESERVE":
            kept = before != "NOT"
        elif before == "RENAME" and word == "TO":
            new = cursor.name()
        before = word
    return _Event(once and not kept, new)


def _object(cursor: Cursor) -> str:
    """The kind of object that a definition names, in small letters."""
    what = cursor.next().upper
    if what == "PACKAGE" and cursor.take("BODY"):
        return "package body"
    if what == "JSON" and (
        cursor.take("RELATIONAL", "DUALITY", "VIEW") or cursor.take("DUALITY", "VIEW")
    ):
        return "view"
    return "table" if what == "TABLES" else what.lower()


def _take_option(cursor: Cursor) -> bool:
    """Take ALGORITHM = x, DEFINER = user, SQL SECURITY x before a view or routine."""
    if cursor.take("SQL", "SECURITY"):
        return bool(cursor.next())
    if cursor.peek().upper not in ("ALGORITHM", "DEFINER"):
        return False
    cursor.next()
    cursor.take_other("=")
    cursor.next()
    if cursor.take_other("@"):
        cursor.next()
    if cursor.take_other("("):
        cursor.take_other(")")
    return True


def _outside(kind: StatementKind) -> StatementKind:
    """A database, an account or a server is no part of a tenant's schema, and nothing in the schema shows it."""
    if kind.redo_safe:
        return msgspec.structs.replace(kind, touched=())
    return msgspec.structs.replace(kind, touched=(), unsettled="untraced")


def alter(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """ALTER."""
    while cursor.take_any(_MODIFIERS) or _take_option(cursor):
        pass
    what = _object(cursor)
    if what == "table":
        return alter_table(cursor)
    guarded = cursor.guard()
    name = "" if what == "instance" else cursor.name()
    kind = StatementKind(
        kind="ddl",
        verb="ALTER",
        object=what,
        names=(name,),
        touched=(name,) if name and what in _SHOWN else (),
        guarded=guarded,
        redo_safe=what in _ALTERED_AGAIN,
    )
    if what == "event":
        event = _event(cursor)
        if event.once:
            return _never_again(kind, "one_time_event")
        if event.new:
            return msgspec.structs.replace(
                kind, touched=(name, event.new), renames=((name, event.new),), redo_safe=False
            )
    elif what == "sequence" and any(token.upper == "RESTART" for token in cursor.rest()):
        return _never_again(kind, "untraced")
    elif what == "user":
        return account(kind, cursor)
    return kind if kind.redo_safe else _outside(kind)


_ALTERED_AGAIN: Final = _SHOWN | _DATABASES | {"server"}
"""What ALTER sets to something, and does not change relative to what it was."""


def drop(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """DROP."""
    temporary = cursor.take_any(_TEMPORARY)
    while cursor.take_any(_MODIFIERS):
        pass
    what = _object(cursor)
    if what in ("prepare", ""):
        return StatementKind(kind="session", verb="DROP", object="prepare", redo_safe=True)
    guarded = cursor.guard()
    names = [cursor.name()]
    while cursor.take_other(","):
        names.append(cursor.name())
    owner = cursor.name() if what == "index" and cursor.take("ON") else ""
    several = len(names) > 1
    kind = StatementKind(
        kind="session" if temporary and not syntax.transactional_ddl else "ddl",
        verb="DROP",
        object=what,
        names=tuple(names),
        owner=owner,
        touched=(owner,) if owner else tuple(names),
        guarded=guarded,
        temporary=temporary,
        redo_safe=guarded,
        destructive=not temporary and what in ("table", *_DATABASES),
    )
    if what not in _SHOWN:
        return _outside(kind)
    if several and not guarded:
        return msgspec.structs.replace(kind, unsettled="several_dropped")
    return kind


def rename(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """RENAME TABLE and RENAME USER."""
    if cursor.take("USER"):
        return StatementKind(kind="other", verb="RENAME", object="user", unsettled="untraced")
    cursor.take_any(_TABLES)
    guarded = cursor.guard()
    pairs: list[tuple[str, str]] = []
    while True:
        old = cursor.name()
        cursor.skip_to("TO")
        pairs.append((old, cursor.name()))
        if not cursor.take_other(","):
            break
    names = dict.fromkeys(name for pair in pairs for name in pair if name)
    return StatementKind(
        kind="ddl",
        verb="RENAME",
        object="table",
        names=(pairs[0][0],),
        renames=tuple(pairs),
        touched=tuple(names),
        guarded=guarded,
        redo_safe=guarded and len(pairs) == 1,
        unsettled="" if len(pairs) == 1 else "several_renamed",
    )


def truncate(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """TRUNCATE."""
    cursor.take("TABLE")
    name = cursor.name()
    return StatementKind(
        kind="ddl",
        verb="TRUNCATE",
        object="table",
        names=(name,),
        touched=(name,),
        destructive=True,
        unsettled="emptied",
    )


def account(kind: StatementKind, cursor: Cursor) -> StatementKind:
    """A password is set once and for all, but not a random one, or one beside or in place of the old."""
    once = any(token.upper in ("RANDOM", "REPLACE", "RETAIN") for token in cursor.rest())
    return msgspec.structs.replace(kind, redo_safe=not once, unsettled="untraced" if once else "")
