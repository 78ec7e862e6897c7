"""What a single statement is: its kind, what it touches, and whether a crash in it can be settled.

Read from its leading tokens, by hand: no parser library is asked, since their
tables of features lag behind the servers. Invariant: a statement that is not
recognised is `other` and not settleable; doubt is never resolved in its favour.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, Literal

import msgspec

from ledger.dialects.definitions import account, alter, create, drop, rename, truncate
from ledger.dialects.kinds import StatementKind, Transaction, Unsettled
from ledger.dialects.syntax import Syntax
from ledger.dialects.tokens import END, Cursor, Token

__all__ = ["StatementKind", "classify"]


def classify(sql: str, syntax: Syntax) -> StatementKind:
    """Classify one statement. Never raises; what it does not know is `other`."""
    kind = _statement(syntax.cursor(sql), syntax)
    if kind.unsettled and syntax.transactional_ddl:
        return msgspec.structs.replace(kind, unsettled="")
    return kind


def _statement(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """The kind of what the cursor stands before; the rest of a longer statement, for one."""
    while cursor.take_other("("):
        pass
    word = cursor.next().upper
    found = _READERS.get(word)
    if found is not None:
        return found(cursor, syntax)
    if word in _TRANSACTION:
        return _transaction(word, _TRANSACTION[word])
    kind, redo_safe, unsettled = _SIMPLE.get(word, ("other", False, "unknown"))
    return StatementKind(kind=kind, verb=word, redo_safe=redo_safe, unsettled=unsettled)


_Kind = Literal["ddl", "dml", "query", "transaction", "session", "pragma", "call", "other"]
_Simple = tuple[_Kind, bool, Unsettled]
_QUERY: Final[_Simple] = ("query", True, "")
_SESSION: Final[_Simple] = ("session", True, "")
_AGAIN: Final[_Simple] = ("other", True, "")
_COMPOUND: Final[_Simple] = ("call", False, "compound")

_SIMPLE: Final[dict[str, _Simple]] = {
    **dict.fromkeys(("SHOW", "HELP"), _QUERY),
    **dict.fromkeys(("USE", "LOCK", "UNLOCK", "PREPARE", "DEALLOCATE"), _SESSION),
    **dict.fromkeys(
        ("VACUUM", "ATTACH", "DETACH", "REINDEX", "OPTIMIZE", "REPAIR", "CHECK", "CHECKSUM", "FLUSH", "GRANT",
         "CACHE"), _AGAIN),
    **dict.fromkeys(("IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR", "DECLARE"), _COMPOUND),
    "EXECUTE": ("call", False, "prepared"),
}  # fmt: skip
_TRANSACTION: Final[dict[str, Transaction]] = {
    "COMMIT": "commit", "END": "commit", "SAVEPOINT": "savepoint", "RELEASE": "savepoint", "XA": "savepoint",
}  # fmt: skip


def _query(cursor: Cursor, syntax: Syntax, verb: str = "SELECT") -> StatementKind:
    return _with_effects(StatementKind(kind="query", verb=verb), cursor.rest(), syntax)


def _with_effects(kind: StatementKind, words: Iterable[Token], syntax: Syntax) -> StatementKind:
    """A statement that may be repeated unless what is written in it has an effect of its own."""
    found = syntax.effects(words)
    return msgspec.structs.replace(
        kind,
        calls=found.calls,
        unsettled=found.unsettled,
        redo_safe=not (found.calls or found.unsettled),
    )


def _explain(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """EXPLAIN ANALYZE runs what it explains."""
    if cursor.take("ANALYZE"):
        return _analyze(cursor, syntax)
    return StatementKind(kind="query", verb="EXPLAIN", redo_safe=True)


def _analyze(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """MariaDB's ANALYZE runs a statement, too, unless a table stands there."""
    if cursor.take("FORMAT"):
        cursor.take_other("=")
        cursor.next()
    if cursor.peek().upper in _RUN_BY_ANALYZE and cursor.peek(1) != END:
        return _statement(cursor, syntax)
    return StatementKind(kind="other", verb="ANALYZE", redo_safe=True)


_RUN_BY_ANALYZE: Final = frozenset({"SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"})


def _set(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """SET, whose effect is the connection's own, the server's, or that of the statement after FOR."""
    if cursor.take("STATEMENT") and cursor.skip_to("FOR"):
        return _statement(cursor, syntax)
    if cursor.peek().upper == "PASSWORD":
        return account(StatementKind(kind="other", verb="SET"), cursor)
    if cursor.take("DEFAULT", "ROLE"):
        return StatementKind(kind="other", verb="SET", redo_safe=True)
    clauses = cursor.clauses()
    words = [token for clause in clauses for token in clause]
    kind = _with_effects(StatementKind(kind="session", verb="SET"), words, syntax)
    if all(_sets_server(clauses)):
        absolute = not any(token.text in ("(", "@") for clause in clauses for token in clause[3:])
        return StatementKind(
            kind="other",
            verb="SET",
            redo_safe=absolute,
            unsettled="" if absolute else "untraced",
        )
    return msgspec.structs.replace(kind, autocommits=any(map(_autocommits, clauses)))


def _sets_server(clauses: Sequence[Sequence[Token]]) -> Iterator[bool]:
    """For each assignment of SET whether it is the server's; a scope holds for those after it."""
    server = False
    for clause in clauses:
        words = {token.upper for token in clause[:3]}
        if words & _SERVER_SCOPES:
            server = True
        elif words & _SESSION_SCOPES or (clause and clause[0].text == "@"):
            server = False
        yield server


_SERVER_SCOPES: Final = frozenset({"GLOBAL", "PERSIST", "PERSIST_ONLY"})
_SESSION_SCOPES: Final = frozenset({"SESSION", "LOCAL"})
_OFF: Final = frozenset({"0", "OFF", "FALSE"})


def _autocommits(clause: Sequence[Token]) -> bool:
    named = any(token.upper == "AUTOCOMMIT" for token in clause[:5])
    return named and clause[-1].upper not in _OFF


def _revoke(cursor: Cursor, syntax: Syntax) -> StatementKind:
    guarded = cursor.guard()
    return StatementKind(
        kind="other",
        verb="REVOKE",
        guarded=guarded,
        redo_safe=guarded,
        unsettled="" if guarded else "untraced",
    )


def _call(cursor: Cursor, syntax: Syntax) -> StatementKind:
    return StatementKind(kind="call", verb="CALL", names=(cursor.name(),), unsettled="call")


def _begin(cursor: Cursor, syntax: Syntax) -> StatementKind:
    if not cursor.at_end and cursor.peek().upper not in _AFTER_BEGIN:
        return StatementKind(kind="call", verb="BEGIN", unsettled="compound")
    return _transaction("BEGIN", "begin")


_AFTER_BEGIN: Final = frozenset(
    {"WORK", "TRANSACTION", "DEFERRED", "IMMEDIATE", "EXCLUSIVE", "CONCURRENT"}
)
"""Anything else is the block of a procedure without a name (MariaDB's ORACLE mode)."""


def _start(cursor: Cursor, syntax: Syntax) -> StatementKind:
    if cursor.peek().upper != "TRANSACTION":
        return StatementKind(kind="other", verb="START", unsettled="untraced")
    return _transaction("START", "begin")


def _rollback(cursor: Cursor, syntax: Syntax) -> StatementKind:
    while cursor.take_any(_WORK):
        pass
    return _transaction("ROLLBACK", "savepoint" if cursor.take("TO") else "rollback")


_WORK: Final = frozenset({"WORK", "TRANSACTION"})


def _transaction(verb: str, effect: Transaction) -> StatementKind:
    return StatementKind(kind="transaction", verb=verb, transaction=effect, redo_safe=True)


def _pragma(cursor: Cursor, syntax: Syntax) -> StatementKind:
    return StatementKind(kind="pragma", verb="PRAGMA", names=(cursor.name(),), redo_safe=True)


def _insert(cursor: Cursor, syntax: Syntax, verb: str = "INSERT") -> StatementKind:
    if cursor.take("OR"):
        cursor.next()
    return _dml(cursor, verb)


def _dml(cursor: Cursor, verb: str) -> StatementKind:
    while cursor.take_any(_DML_MODIFIERS):
        pass
    return StatementKind(kind="dml", verb=verb, names=(cursor.name(),))


_DML_MODIFIERS: Final = frozenset(
    {"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "INTO", "FROM", "ONLY"}
)


def _update(cursor: Cursor, syntax: Syntax) -> StatementKind:
    if cursor.take("OR"):
        cursor.next()
    return _joined(_dml(cursor, "UPDATE"), cursor)


def _delete(cursor: Cursor, syntax: Syntax) -> StatementKind:
    return _joined(_dml(cursor, "DELETE"), cursor)


def _joined(kind: StatementKind, cursor: Cursor) -> StatementKind:
    """With the further tables, which stand before SET and WHERE; without WHERE all rows go or change."""
    joins: list[str] = []
    depth = 0
    begun = False
    while not cursor.at_end and not (depth == 0 and cursor.peek().upper == "WHERE"):
        token = cursor.next()
        if token.kind == "other":
            depth += (token.text == "(") - (token.text == ")")
        begun = begun or token.upper == "SET"
        if not begun and (token.text == "," or token.upper in _BEFORE_TABLE):
            joins.append(cursor.name())
    return msgspec.structs.replace(
        kind, joins=tuple(name for name in joins if name), destructive=cursor.at_end
    )


_BEFORE_TABLE: Final = frozenset({"JOIN", "STRAIGHT_JOIN", "FROM", "USING"})


def _with(cursor: Cursor, syntax: Syntax) -> StatementKind:
    """What a WITH is, is what stands after its common table expressions."""
    depth = 0
    tables: list[Token] = []
    while not cursor.at_end:
        token = cursor.next()
        tables.append(token)
        if token.kind == "other":
            depth += (token.text == "(") - (token.text == ")")
        elif depth == 0 and token.upper in ("INSERT", "REPLACE", "UPDATE", "DELETE"):
            return _READERS[token.upper](cursor, syntax)
        elif depth == 0 and token.upper in ("SELECT", "VALUES"):
            break
    kind = StatementKind(kind="query", verb="WITH")
    return _with_effects(kind, itertools.chain(tables, cursor.rest()), syntax)


def _load(cursor: Cursor, syntax: Syntax) -> StatementKind:
    if cursor.take("INDEX"):
        return StatementKind(kind="other", verb="LOAD", redo_safe=True)
    cursor.skip_to("INTO")
    cursor.take("TABLE")
    return StatementKind(kind="dml", verb="LOAD", names=(cursor.name(),), unsettled="file_read")


_Reader = Callable[[Cursor, Syntax], StatementKind]
_READERS: Final[dict[str, _Reader]] = {
    "CREATE": create, "ALTER": alter, "DROP": drop, "RENAME": rename, "TRUNCATE": truncate,
    "INSERT": _insert, "REPLACE": partial(_insert, verb="REPLACE"), "UPDATE": _update, "DELETE": _delete,
    "WITH": _with, "LOAD": _load, "CALL": _call, "BEGIN": _begin, "START": _start, "ROLLBACK": _rollback,
    "PRAGMA": _pragma, "EXPLAIN": _explain, "DESCRIBE": _explain, "DESC": _explain, "ANALYZE": _analyze, "SET": _set,
    "REVOKE": _revoke, **{verb: partial(_query, verb=verb) for verb in ("SELECT", "VALUES", "TABLE", "DO")},
}  # fmt: skip
