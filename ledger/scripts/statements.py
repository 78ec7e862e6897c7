"""What a single statement is: its kind, what it touches, and whether a crash in it can be settled.

Read from its leading tokens, by hand: no parser library is asked, since their
tables of features lag behind the servers. Invariant: a statement that is not
recognised is `other` and not settleable; doubt is never resolved in its favour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from ledger.scripts.alter import alter_table
from ledger.scripts.kinds import StatementKind, Transaction, Unsettled
from ledger.scripts.model import Dialect
from ledger.scripts.tokens import Cursor

__all__ = ["StatementKind", "classify"]

_TABLES: Final = frozenset({"TABLE", "TABLES"})
_MODIFIERS: Final = frozenset(
    {"UNIQUE", "FULLTEXT", "SPATIAL", "VIRTUAL", "ONLINE", "OFFLINE", "AGGREGATE", "IGNORE", "UNDO"}
)
_TEMPORARY: Final = frozenset({"TEMP", "TEMPORARY"})
_DATABASES: Final = frozenset({"database", "schema"})
_ACCOUNTS: Final = frozenset({"user", "role"})
_OUTSIDE: Final = _DATABASES | _ACCOUNTS | {"server"}


def classify(sql: str, dialect: Dialect) -> StatementKind:
    """Classify one statement. Never raises; what it does not know is `other`."""
    cursor = Cursor(sql, dialect)
    while cursor.take_other("("):
        pass
    word = cursor.next().upper
    found = _READERS.get(word)
    if found is not None:
        return found(cursor, dialect)
    kind, redo_safe, unsettled = _SIMPLE.get(word, ("other", False, "unknown"))
    return StatementKind(
        kind=kind,
        verb=word,
        redo_safe=redo_safe,
        unsettled="" if dialect == "sqlite" else unsettled,
    )


_Kind = Literal["ddl", "dml", "query", "transaction", "session", "pragma", "call", "other"]
_Simple = tuple[_Kind, bool, Unsettled]
_QUERY: Final[_Simple] = ("query", True, "")
_SESSION: Final[_Simple] = ("session", True, "")
_AGAIN: Final[_Simple] = ("other", True, "")
_COMPOUND: Final[_Simple] = ("call", False, "compound")

_SIMPLE: Final[dict[str, _Simple]] = {
    **dict.fromkeys(("SELECT", "VALUES", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "DO", "HELP"), _QUERY),
    **dict.fromkeys(("SET", "USE", "LOCK", "UNLOCK", "PREPARE", "DEALLOCATE"), _SESSION),
    **dict.fromkeys(
        ("VACUUM", "ATTACH", "DETACH", "REINDEX", "ANALYZE", "OPTIMIZE", "REPAIR", "CHECK", "CHECKSUM",
         "FLUSH", "GRANT", "CACHE"), _AGAIN),
    **dict.fromkeys(("IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR", "DECLARE"), _COMPOUND),
    "REVOKE": ("other", False, "untraced"),
    "EXECUTE": ("call", False, "prepared"),
}  # fmt: skip


def _call(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return StatementKind(kind="call", verb="CALL", names=(cursor.name(),), unsettled="call")


def _begin(cursor: Cursor, dialect: Dialect) -> StatementKind:
    if cursor.take("NOT", "ATOMIC"):
        return StatementKind(kind="call", verb="BEGIN", unsettled="compound")
    return _transaction("BEGIN", "begin")


def _start(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return _transaction("START", "begin")


def _commit(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return _transaction("COMMIT", "commit")


def _end(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return _transaction("END", "commit")


def _rollback(cursor: Cursor, dialect: Dialect) -> StatementKind:
    while cursor.take_any(_WORK):
        pass
    return _transaction("ROLLBACK", "savepoint" if cursor.take("TO") else "rollback")


def _savepoint(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return _transaction("SAVEPOINT", "savepoint")


def _release(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return _transaction("RELEASE", "savepoint")


def _xa(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return _transaction("XA", "savepoint")


_WORK: Final = frozenset({"WORK", "TRANSACTION"})


def _transaction(verb: str, effect: Transaction) -> StatementKind:
    return StatementKind(kind="transaction", verb=verb, transaction=effect, redo_safe=True)


def _pragma(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return StatementKind(kind="pragma", verb="PRAGMA", names=(cursor.name(),), redo_safe=True)


def _create(cursor: Cursor, dialect: Dialect) -> StatementKind:
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
        redo_safe=guarded or (replaces and what != "table"),
    )
    if temporary and what == "table" and dialect == "mysql":
        return msgspec.structs.replace(kind, kind="session", unsettled="temporary")
    if replaces and what == "table":
        return msgspec.structs.replace(kind, destructive=True, unsettled="not_atomic")
    if what in _OUTSIDE:
        return _outside(kind)
    return kind


def _object(cursor: Cursor) -> str:
    """The kind of object that a definition names, in small letters."""
    what = cursor.next().upper
    if what == "PACKAGE" and cursor.take("BODY"):
        return "package body"
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
    """A database, an account or a server is no part of a tenant's schema."""
    if kind.redo_safe:
        return msgspec.structs.replace(kind, touched=())
    return msgspec.structs.replace(kind, touched=(), unsettled="untraced")


def _alter(cursor: Cursor, dialect: Dialect) -> StatementKind:
    while cursor.take_any(_MODIFIERS) or _take_option(cursor):
        pass
    what = _object(cursor)
    if what == "table":
        return alter_table(cursor, dialect)
    guarded = cursor.guard()
    name = "" if what == "instance" else cursor.name()
    kind = StatementKind(
        kind="ddl",
        verb="ALTER",
        object=what,
        names=(name,),
        touched=(name,) if name and what not in _DATABASES | _ACCOUNTS else (),
        guarded=guarded,
        redo_safe=guarded or what not in ("event", "sequence", "tablespace", "instance", "server"),
    )
    if what == "event" and cursor.skip_to("RENAME") and cursor.take("TO"):
        new = cursor.name()
        return msgspec.structs.replace(kind, touched=(name, new), renames=((name, new),))
    if what == "event":
        return msgspec.structs.replace(kind, redo_safe=True)
    return kind if kind.redo_safe else _outside(kind)


def _drop(cursor: Cursor, dialect: Dialect) -> StatementKind:
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
        kind="session" if temporary and dialect == "mysql" else "ddl",
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
    if what in _OUTSIDE:
        return _outside(kind)
    if several and not guarded and dialect == "mysql":
        return msgspec.structs.replace(kind, unsettled="several_dropped")
    return kind


def _rename(cursor: Cursor, dialect: Dialect) -> StatementKind:
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


def _truncate(cursor: Cursor, dialect: Dialect) -> StatementKind:
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


def _insert(cursor: Cursor, dialect: Dialect) -> StatementKind:
    if cursor.take("OR"):
        cursor.next()
    return _dml(cursor, "INSERT")


def _replace(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return _dml(cursor, "REPLACE")


def _dml(cursor: Cursor, verb: str) -> StatementKind:
    while cursor.take_any(_DML_MODIFIERS):
        pass
    return StatementKind(kind="dml", verb=verb, names=(cursor.name(),))


_DML_MODIFIERS: Final = frozenset(
    {"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "INTO", "FROM", "ONLY"}
)


def _update(cursor: Cursor, dialect: Dialect) -> StatementKind:
    if cursor.take("OR"):
        cursor.next()
    kind = _dml(cursor, "UPDATE")
    return msgspec.structs.replace(kind, destructive=not cursor.skip_to("WHERE"))


def _delete(cursor: Cursor, dialect: Dialect) -> StatementKind:
    kind = _dml(cursor, "DELETE")
    return msgspec.structs.replace(kind, destructive=not cursor.skip_to("WHERE"))


def _with(cursor: Cursor, dialect: Dialect) -> StatementKind:
    """What a WITH is, is what stands after its common table expressions."""
    depth = 0
    while not cursor.at_end:
        token = cursor.next()
        if token.kind == "other":
            depth += (token.text == "(") - (token.text == ")")
        elif depth == 0 and token.upper in ("INSERT", "REPLACE", "UPDATE", "DELETE"):
            return _READERS[token.upper](cursor, dialect)
        elif depth == 0 and token.upper in ("SELECT", "VALUES"):
            break
    return StatementKind(kind="query", verb="WITH", redo_safe=True)


def _load(cursor: Cursor, dialect: Dialect) -> StatementKind:
    cursor.skip_to("INTO")
    cursor.take("TABLE")
    return StatementKind(kind="dml", verb="LOAD", names=(cursor.name(),), unsettled="file_read")


_Reader = Callable[[Cursor, Dialect], StatementKind]
_READERS: Final[dict[str, _Reader]] = {
    "CREATE": _create, "ALTER": _alter, "DROP": _drop, "RENAME": _rename, "TRUNCATE": _truncate,
    "INSERT": _insert, "REPLACE": _replace, "UPDATE": _update, "DELETE": _delete, "WITH": _with,
    "LOAD": _load, "CALL": _call, "BEGIN": _begin, "START": _start, "COMMIT": _commit, "END": _end,
    "ROLLBACK": _rollback, "SAVEPOINT": _savepoint, "RELEASE": _release, "XA": _xa, "PRAGMA": _pragma,
}  # fmt: skip
