"""Statements of a migration as values: steps, checks and the sections that hold them.

Invariant: a text still holds its `{placeholders}` until the migration is bound.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

import msgspec

from ledger.dialects.tokens import readable
from ledger.events import Part

DialectName = Literal["sqlite", "mysql"]
MARKER_TABLE: Final = "ledger_marker"
"""The name of the marker in a tenant; for a prefix tenant it is `{prefix}ledger_marker`."""
SkipKind = Literal["column", "table", "index", "view", "sql", "not_made"]


def sha256_hex(text: str) -> str:
    """SHA-256, in hex, over the UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


class SkipIf(msgspec.Struct, frozen=True, kw_only=True):
    """A step's guard. `subject` is `T.C`, `T`, `I`, `V`, or the SELECT for `sql`; `text` is as written.

    `owner` and `name` are the parts of a subject whose names may hold a dot themselves.
    `not_made` is no question: the guard of a down step that holds in any case, since the up step
    `up_step` made nothing on this tenant; `text` says why.
    """

    kind: SkipKind
    subject: str
    text: str
    owner: str = ""
    name: str = ""
    up_step: int | None = None

    @property
    def parts(self) -> tuple[str, str]:
        """The table that is named before it, or nothing, and the name."""
        if self.name:
            return self.owner, self.name
        owner, _, name = self.subject.rpartition(".")
        return owner, name


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One SQL statement. `number` counts from 1 within its section; `line` is where it starts in `file`.

    `sha256` is over the statement's text as it is sent, after binding. `placeholders`
    is false where the file means its braces (`-- placeholders: off`), `escapes` where a backslash in
    its quotes stands for itself (NO_BACKSLASH_ESCAPES). `adds` are the columns and keys of one that was computed
    from a section sync.
    """

    number: int
    name: str
    sql: str
    file: str
    line: int
    sha256: str
    skip_if: SkipIf | None = None
    verify_step: str | None = None
    redo_safe: bool = False
    secret: bool = False
    placeholders: bool = True
    escapes: bool = True
    adds: tuple[Part, ...] = ()

    @property
    def readable(self) -> str:
        """The text as its tokens are read."""
        return self.read_alike(self.sql)

    @property
    def questions(self) -> tuple[str, ...]:
        """What is asked on the step's connection around it, in the mode in which the step is read."""
        asked = (self.skip_if.subject,) if self.skip_if and self.skip_if.kind == "sql" else ()
        return asked if self.verify_step is None else (*asked, self.verify_step)

    def read_alike(self, text: str) -> str:
        """A text of the step's own (its statement, its guard) as its tokens are read."""
        return readable(text, escapes=self.escapes)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A SELECT whose first value must be true (not 0, not NULL, not empty)."""

    name: str
    sql: str
    file: str
    line: int
    placeholders: bool = True


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """The up or down part. `transaction` is false after `transaction:false`.

    `foreign_keys` is what the file itself says by PRAGMA foreign_keys (SQLite):
    the engine sets it outside the transaction. The file's own BEGIN and COMMIT
    are not among the steps of a SQLite section with `transaction`. `foreign_key_check` is false after
    `-- foreign-key-check: off`: what dangles at the end is not looked for.
    """

    steps: tuple[Step, ...]
    transaction: bool = True
    foreign_keys: bool | None = None
    foreign_key_check: bool = True
