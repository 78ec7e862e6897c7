"""The value that classifying a statement gives: fields to decide by, and no sentence among them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Transaction = Literal["", "begin", "commit", "rollback", "savepoint"]
"""`savepoint` is all that neither begins nor ends one: SAVEPOINT, RELEASE, ROLLBACK TO."""

Unsettled = Literal[
    "",
    "unknown",
    "compound",
    "untraced",
    "prepared",
    "call",
    "temporary",
    "not_atomic",
    "several_dropped",
    "several_renamed",
    "emptied",
    "partition_emptied",
    "partition_exchanged",
    "tablespace",
    "file_read",
    "file_written",
    "sequence",
    "one_time_event",
]
"""Why the database cannot tell after a crash whether a statement landed; in words: wording.py."""


Lost = Literal["", "count", "random"]
"""What a step reads of its connection that a crash just before it loses; in words: wording.py."""


class Clause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One clause of ALTER TABLE: its leading keywords (`ADD`, `COLUMN`), without IF [NOT] EXISTS,
    and the first name after them; `new` is the one that it gets, of CHANGE and RENAME. `sort` is the keyword
    after a constraint's name.
    `guarded`: it has an IF [NOT] EXISTS of its own.
    """

    words: tuple[str, ...] = ()
    name: str = ""
    new: str = ""
    sort: str = ""
    guarded: bool = False


ASKS: Final = ("query", "session")
"""Kinds of statements of which the text does not show what the views that they read call."""

_COMMITTING: Final = frozenset(
    {
        "ANALYZE",
        "CACHE",
        "CHECK",
        "FLUSH",
        "GRANT",
        "LOAD",
        "OPTIMIZE",
        "RENAME",
        "REPAIR",
        "REVOKE",
        "SET",
    }
)
"""https://dev.mysql.com/doc/refman/9.4/en/implicit-commit.html; SET of a password among them."""


class StatementKind(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a statement is.

    `verb` is its first keyword in capitals (`CREATE`), empty where it has none; for WITH that of
    the statement after it, unless that is a SELECT. `object` is the kind of object that a
    definition is about, in small letters (`table`, `package body`). `names` are the objects that
    the statement is about, `owner` the table of an index or trigger, `renames` pairs of old and
    new names, `clauses` those of ALTER TABLE. `touched` are all tables, views, triggers,
    routines … that it creates, alters, renames or drops, an index counting as its table where
    that is known. All names are unquoted, a qualified one with its dot.

    `guarded`: it has IF [NOT] EXISTS. `joins` are further tables that an UPDATE or DELETE names and
    may write to, or their aliases. `calls` are functions that it calls and that may be the
    tenant's own, and write. `fills`: it makes a table and puts rows into it. `transaction` is its
    effect on the open transaction; `autocommits`: it may switch to committing each statement.
    `redo_safe`: running it twice is running it once. `unsettled`: why, after a crash in it, the
    database cannot tell whether it landed. `destructive`: it drops data. The kind `session` has
    an effect that ends with the connection, so that a resumed run needs it again.
    """

    kind: Literal["ddl", "dml", "query", "transaction", "session", "pragma", "call", "other"]
    verb: str = ""
    object: str = ""
    names: tuple[str, ...] = ()
    owner: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    clauses: tuple[Clause, ...] = ()
    touched: tuple[str, ...] = ()
    guarded: bool = False
    replaces: bool = False
    temporary: bool = False
    unique: bool = False
    joins: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    fills: bool = False
    autocommits: bool = False
    transaction: Transaction = ""
    redo_safe: bool = False
    unsettled: Unsettled = ""
    destructive: bool = False

    @property
    def target(self) -> str:
        """The object that it is mainly about; empty for none."""
        return self.names[0] if self.names else ""

    @property
    def settleable(self) -> bool:
        """Whether the database can tell after a crash whether it landed."""
        return not self.unsettled

    @property
    def commits(self) -> bool:
        """Whether it commits the open transaction implicitly (MySQL, MariaDB)."""
        other = self.kind == "other" and self.verb in _COMMITTING
        return self.kind == "ddl" or other or self.autocommits or self.transaction == "begin"

    @property
    def may_find(self) -> bool:
        """Whether it creates an object and does not fail where one of that name is there already."""
        return self.verb == "CREATE" and (self.guarded or self.replaces) and not self.temporary

    @property
    def writes_schema(self) -> bool:
        """Whether it lets the statements after it write the schema's own table (SQLite)."""
        return self.kind == "pragma" and self.target.rpartition(".")[2].lower() == "writable_schema"

    def makes(self, *objects: str) -> bool:
        """Whether it creates an object of one of these kinds."""
        return self.verb == "CREATE" and self.object in objects
