"""What a dialect is: all that differs between databases in how their SQL is split, read and judged.

Invariant: a method that finds nothing returns what its docstring says, and raises for nothing but a
migration that cannot run. What is here stands for every database; a dialect says what it does otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

from ledger.dialects.columns import NO_COLUMN, created_columns
from ledger.dialects.findings import Finding
from ledger.dialects.kinds import Lost, StatementKind, Unsettled
from ledger.dialects.split import Script, Statement
from ledger.dialects.statements import classify
from ledger.dialects.steps import DialectName, Section, Step
from ledger.dialects.syntax import Syntax
from ledger.errors import ScriptError
from ledger.schema import Column

HEAD_CHARACTERS: Final = 10_000
"""Within so many characters a dump says that it is one."""

DumpPart = Literal["", "restore", "setting", "drop"]
"""What a dump has a statement for: `restore`, for a server that takes the dump whole; `setting`, made and
taken back around the others; `drop`, of a table before it is created."""

Holder = Literal["table", "view"]
"""What version.json says that a migration creates."""

Relation = Literal["same", "wider", "differs"]

Equip = Callable[[Any], None]
"""Gives a connection of the database's driver what the tenants' application gives its own."""


class Settled(NamedTuple):
    """A section as an engine runs it, and warnings about it."""

    section: Section
    warnings: tuple[str, ...] = ()


class Doubt(NamedTuple):
    """A step at which a crash could not be settled, and why: one in the step, or, where the reason is that
    something is `lost`, one just before it. In words: wording.py."""

    step: Step
    unsettled: Unsettled = ""
    lost: Lost = ""


class Dialect(ABC):
    """One kind of database, as the text of its migrations sees it.

    `example` is the statement that a new migration shows; `routine_hint` is added to a hint about
    statements in several lines, and says how a routine's body is delimited (or is empty). `adds_keys`:
    primary and unique keys can be added to a table. `named_checks`: the text of a check, as the database
    reports it, begins with its name and a colon. `own_space`: a qualifier that means the tenant itself.
    `no_column`: words that begin a part of CREATE TABLE's list that is no column.
    """

    name: DialectName
    syntax: Syntax
    example: str
    adds_keys: bool
    named_checks: bool = False
    routine_hint: str = ""
    own_space: str = ""
    no_column: frozenset[str] = NO_COLUMN

    @abstractmethod
    def split(self, text: str, *, file: str) -> Script:
        """The statements of a normalised text; none of a text that holds only comments.

        Raises ScriptError with file and line for what never ends and for commands of a client.
        """

    @abstractmethod
    def existence_query(self, kind: Holder, name: str) -> str:
        """A SELECT of 1 if the tenant has a table or view of this name, else of 0."""

    @abstractmethod
    def relation(self, live: Column, desired: Column, *, in_key: bool) -> Relation:
        """The desired type of a column beside the live one, both as the same database reports them.

        `in_key`: the column is in the primary key. What is not known to be wider `differs`.
        """

    def classify(self, sql: str) -> StatementKind:
        """The kind of one statement; `other` for one that is not known."""
        return classify(sql, self.syntax)

    def created_columns(self, sql: str) -> tuple[str, ...]:
        """The columns that a CREATE TABLE lists; none where they come from a query or from another table."""
        return created_columns(sql, self.syntax, self.no_column)

    def dump_hint(self, head: str, *, line: str = "", wide: bool = False) -> str:
        """What to do about a dump whose bytes are no text: `wide`, since it is UTF-16; else those after `line`.

        `head` is its first HEAD_CHARACTERS. Empty for a file that the dump program did not write.
        """
        return ""

    def is_dump(self, text: str) -> bool:
        """Whether the database's own dump program wrote the file."""
        return False

    def dump_part(self, sql: str, *, dump: bool, sync: bool) -> DumpPart:
        """What a dump has the statement for; empty for what a migration runs.

        `dump`: the file is one. `sync`: it stands in a section sync; elsewhere settings and drops run.
        """
        return ""

    def is_left_to_engine(self, sql: str) -> bool:
        """Whether a section in one transaction leaves the statement out, and the engine does it."""
        return False

    def settle(self, steps: Sequence[Step]) -> Settled:
        """A section in one transaction. Raises ScriptError for what cannot run in one."""
        return Settled(Section(steps=tuple(steps)))

    def settle_bound(self, section: Section, unbound: Section) -> Section:
        """The section once its placeholders are replaced; the same one if that changes nothing else.

        Raises ScriptError.
        """
        return section

    def step_problem(
        self, statement: Statement, kind: StatementKind, *, file: str, kept: bool
    ) -> ScriptError | None:
        """Why a run cannot give a step what it needs; None if it can. `kept`: it ran once."""
        return None

    def is_idle(self, sql: str) -> bool:
        """Whether all that the statement does ends with its transaction or its connection."""
        return self.classify(sql).kind == "transaction"

    def in_order(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """A section sync in the order in which it can run: the file's, unless keys refer ahead."""
        return tuple(steps)

    def doubts(self, steps: Sequence[Step]) -> Iterator[Doubt]:
        """The steps at which a crash could not be settled; none where a transaction undoes definitions."""
        return iter(())

    def rebuilt_tables(self, steps: Iterable[Step]) -> frozenset[str]:
        """Tables that the steps drop and bring back, in lower case: dropping those loses no data."""
        return frozenset()

    def deletes_unnamed(self, up: Section, session: tuple[str, ...]) -> Iterator[Finding]:
        """The steps that would delete rows which no statement names, on a connection on which the
        statements of `session` have run."""
        return iter(())

    def lint(
        self,
        up: Section,
        down: Section | None,
        sync: Sequence[Step],
        *,
        bound: bool,
        equip: Equip | None = None,
    ) -> Iterator[Finding]:
        """The findings of this dialect's own rules. `bound`: no placeholder is left in the texts."""
        return iter(())
