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
from ledger.scripts.kinds import StatementKind
from ledger.scripts.model import Dialect
from ledger.scripts.tokens import Cursor

__all__ = ["StatementKind", "classify"]

_TABLES: Final = frozenset({"TABLE", "TABLES"})
_MODIFIERS: Final = frozenset(
    {"UNIQUE", "FULLTEXT", "SPATIAL", "VIRTUAL", "ONLINE", "OFFLINE", "AGGREGATE", "IGNORE", "UNDO"}
)
_TEMPORARY: Final = frozenset({"TEMP", "TEMPORARY"})
_DATABASES: Final = frozenset({"DATABASE", "SCHEMA"})
_ACCOUNTS: Final = frozenset({"USER", "ROLE"})


def classify(sql: str, dialect: Dialect) -> StatementKind:
    """Classify one statement. Never raises; what it does not know is `other`."""
    cursor = Cursor(sql, dialect)
    while cursor.take_other("("):
        pass
    word = cursor.next().upper
    found = _READERS.get(word)
    if found is not None:
        return found(cursor, dialect)
    kind, redo_safe, reason = _SIMPLE.get(word, ("other", False, "its effect is not known"))
    return StatementKind(
        kind=kind,
        label=word or "statement",
        redo_safe=redo_safe,
        settleable=not reason or dialect == "sqlite",
        reason=reason,
    )


_Simple = tuple[
    Literal["ddl", "dml", "query", "transaction", "session", "pragma", "call", "other"], bool, str
]
_QUERY: Final[_Simple] = ("query", True, "")
_TRANSACTION: Final[_Simple] = ("transaction", True, "")
_SESSION: Final[_Simple] = ("session", True, "")
_AGAIN: Final[_Simple] = ("other", True, "")
_COMPOUND: Final[_Simple] = ("call", False, "a compound statement may do anything")
_ACCOUNT: Final[_Simple] = ("other", False, "nothing in the tenant shows whether it ran")

_SIMPLE: Final[dict[str, _Simple]] = {
    **dict.fromkeys(("SELECT", "VALUES", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "DO", "HELP"), _QUERY),
    **dict.fromkeys(("COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "START", "XA"), _TRANSACTION),
    **dict.fromkeys(("SET", "USE", "LOCK", "UNLOCK", "PREPARE", "DEALLOCATE"), _SESSION),
    **dict.fromkeys(
        ("VACUUM", "ATTACH", "DETACH", "REINDEX", "ANALYZE", "OPTIMIZE", "REPAIR", "CHECK", "CHECKSUM",
         "FLUSH", "GRANT", "CACHE"), _AGAIN),
    **dict.fromkeys(("IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR", "DECLARE"), _COMPOUND),
    "REVOKE": _ACCOUNT,
    "EXECUTE": ("call", False, "what a prepared statement does is not known before it runs"),
}  # fmt: skip


def _call(cursor: Cursor, dialect: Dialect) -> StatementKind:
    name = cursor.name()
    return StatementKind(
        kind="call",
        label=f"CALL {name}",
        target=name,
        settleable=False,
        reason="a called procedure may do anything",
    )


def _begin(cursor: Cursor, dialect: Dialect) -> StatementKind:
    if cursor.take("NOT", "ATOMIC"):
        return StatementKind(
            kind="call", label="BEGIN NOT ATOMIC", settleable=False, reason=_COMPOUND[2]
        )
    return StatementKind(kind="transaction", label="BEGIN", redo_safe=True)


def _pragma(cursor: Cursor, dialect: Dialect) -> StatementKind:
    name = cursor.name()
    return StatementKind(kind="pragma", label=f"PRAGMA {name}", target=name, redo_safe=True)


def _create(cursor: Cursor, dialect: Dialect) -> StatementKind:
    replace = cursor.take("OR", "REPLACE")
    temporary = unique = False
    while True:
        if cursor.take_any(_TEMPORARY):
            temporary = True
        elif cursor.peek().upper in _MODIFIERS:
            unique = cursor.next().upper == "UNIQUE" or unique
        elif not _take_option(cursor):
            break
    what = cursor.next().upper
    if what == "PACKAGE" and cursor.take("BODY"):
        what = "PACKAGE BODY"
    guarded = cursor.guard()
    name = cursor.name()
    table = cursor.name() if what in ("INDEX", "TRIGGER") and cursor.skip_to("ON") else ""
    verb = " ".join(
        word
        for word in (
            "CREATE",
            "OR REPLACE" if replace else "",
            "TEMPORARY" if temporary else "",
            "UNIQUE" if unique else "",
            what,
        )
        if word
    )
    kind = StatementKind(
        kind="ddl",
        label=f"{verb} {name}" + (f" ON {table}" if table else ""),
        target=name,
        touched=(table,) if what == "INDEX" and table else tuple(n for n in (name, table) if n),
        redo_safe=guarded or (replace and what != "TABLE"),
    )
    if temporary and what == "TABLE" and dialect == "mysql":
        return msgspec.structs.replace(
            kind, kind="session", settleable=False, reason="a temporary table ends with its session"
        )
    if replace and what == "TABLE":
        return msgspec.structs.replace(
            kind,
            destructive=True,
            settleable=False,
            reason="CREATE OR REPLACE TABLE is not atomic: a crash can leave neither table",
        )
    if what in _DATABASES or what in _ACCOUNTS or what == "SERVER":
        return _outside(kind)
    return kind


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
    return msgspec.structs.replace(kind, touched=(), settleable=False, reason=_ACCOUNT[2])


def _alter(cursor: Cursor, dialect: Dialect) -> StatementKind:
    while cursor.take_any(_MODIFIERS) or _take_option(cursor):
        pass
    what = cursor.next().upper
    if what == "TABLE":
        return alter_table(cursor, dialect)
    guarded = cursor.guard()
    name = "" if what == "INSTANCE" else cursor.name()
    kind = StatementKind(
        kind="ddl",
        label=f"ALTER {what} {name}".rstrip(),
        target=name,
        touched=(name,) if name and what not in _DATABASES | _ACCOUNTS else (),
        redo_safe=guarded or what not in ("EVENT", "SEQUENCE", "TABLESPACE", "INSTANCE", "SERVER"),
    )
    if what == "EVENT" and cursor.skip_to("RENAME") and cursor.take("TO"):
        return msgspec.structs.replace(kind, touched=(name, cursor.name()))
    if what == "EVENT":
        return msgspec.structs.replace(kind, redo_safe=True)
    return kind if kind.redo_safe else _outside(kind)


def _drop(cursor: Cursor, dialect: Dialect) -> StatementKind:
    temporary = cursor.take_any(_TEMPORARY)
    while cursor.take_any(_MODIFIERS):
        pass
    what = cursor.next().upper
    if what in ("PREPARE", ""):
        return StatementKind(kind="session", label="DROP PREPARE", redo_safe=True)
    if what in _TABLES:
        what = "TABLE"
    if what == "PACKAGE" and cursor.take("BODY"):
        what = "PACKAGE BODY"
    guarded = cursor.guard()
    names = [cursor.name()]
    while cursor.take_other(","):
        names.append(cursor.name())
    table = cursor.name() if what == "INDEX" and cursor.take("ON") else ""
    several = len(names) > 1
    kind = StatementKind(
        kind="session" if temporary and dialect == "mysql" else "ddl",
        label=f"DROP {what} {', '.join(names)}" + (f" ON {table}" if table else ""),
        target=names[0],
        touched=(table,) if table else tuple(names),
        redo_safe=guarded,
        destructive=not temporary and what in ("TABLE", *_DATABASES),
    )
    if what in _DATABASES or what in _ACCOUNTS or what == "SERVER":
        return _outside(kind)
    if several and not guarded and dialect == "mysql":
        return msgspec.structs.replace(
            kind,
            settleable=False,
            reason="a crash can leave some of these dropped; drop them one by one, or with IF EXISTS",
        )
    return kind


def _rename(cursor: Cursor, dialect: Dialect) -> StatementKind:
    if cursor.take("USER"):
        return StatementKind(
            kind="other", label="RENAME USER", settleable=False, reason=_ACCOUNT[2]
        )
    cursor.take_any(_TABLES)
    guarded = cursor.guard()
    names = []
    pairs = 0
    while True:
        names.append(cursor.name())
        cursor.skip_to("TO")
        names.append(cursor.name())
        pairs += 1
        if not cursor.take_other(","):
            break
    return StatementKind(
        kind="ddl",
        label=f"RENAME TABLE {names[0]} TO {names[1]}" + (" …" if pairs > 1 else ""),
        target=names[0],
        touched=tuple(name for name in dict.fromkeys(names) if name),
        redo_safe=guarded and pairs == 1,
        settleable=pairs == 1,
        reason="" if pairs == 1 else "a crash can leave some of these renamed; rename one by one",
    )


def _truncate(cursor: Cursor, dialect: Dialect) -> StatementKind:
    cursor.take("TABLE")
    name = cursor.name()
    return StatementKind(
        kind="ddl",
        label=f"TRUNCATE TABLE {name}",
        target=name,
        touched=(name,),
        destructive=True,
        settleable=False,
        reason="nothing in the schema shows whether it ran; -- redo-safe says that it may run twice",
    )


def _insert(cursor: Cursor, dialect: Dialect) -> StatementKind:
    if cursor.take("OR"):
        cursor.next()
    return _dml(cursor, "INSERT INTO")


def _replace(cursor: Cursor, dialect: Dialect) -> StatementKind:
    return _dml(cursor, "REPLACE INTO")


def _dml(cursor: Cursor, verb: str, *, destructive: bool = False) -> StatementKind:
    while cursor.take_any(_DML_MODIFIERS):
        pass
    name = cursor.name()
    return StatementKind(kind="dml", label=f"{verb} {name}", target=name, destructive=destructive)


_DML_MODIFIERS: Final = frozenset(
    {"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "INTO", "FROM", "ONLY"}
)


def _update(cursor: Cursor, dialect: Dialect) -> StatementKind:
    if cursor.take("OR"):
        cursor.next()
    kind = _dml(cursor, "UPDATE")
    return msgspec.structs.replace(kind, destructive=not cursor.skip_to("WHERE"))


def _delete(cursor: Cursor, dialect: Dialect) -> StatementKind:
    kind = _dml(cursor, "DELETE FROM")
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
    return StatementKind(kind="query", label="WITH", redo_safe=True)


def _load(cursor: Cursor, dialect: Dialect) -> StatementKind:
    cursor.skip_to("INTO")
    cursor.take("TABLE")
    name = cursor.name()
    return StatementKind(
        kind="dml",
        label=f"LOAD DATA INTO {name}",
        target=name,
        settleable=False,
        reason="it depends on a file beside the migration",
    )


_Reader = Callable[[Cursor, Dialect], StatementKind]
_READERS: Final[dict[str, _Reader]] = {
    "CREATE": _create, "ALTER": _alter, "DROP": _drop, "RENAME": _rename, "TRUNCATE": _truncate,
    "INSERT": _insert, "REPLACE": _replace, "UPDATE": _update, "DELETE": _delete, "WITH": _with,
    "LOAD": _load, "CALL": _call, "BEGIN": _begin, "PRAGMA": _pragma,
}  # fmt: skip
