"""The dialect of SQLite."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ledger.dialects.base import Dialect, Equip, Holder, Relation, Settled
from ledger.dialects.findings import Finding
from ledger.dialects.split import Script
from ledger.dialects.sqlite import lint
from ledger.dialects.sqlite.pragmas import enforces_foreign_keys, switches_foreign_keys
from ledger.dialects.sqlite.split import split_sqlite
from ledger.dialects.sqlite.syntax import SYNTAX, literal
from ledger.dialects.sqlite.transaction import settle_bound, settle_section
from ledger.dialects.sqlite.types import relation
from ledger.dialects.steps import DialectName, Section, Step
from ledger.dialects.syntax import Syntax
from ledger.schema import Column

_TRANSACTION: Final = re.compile(r"(?:BEGIN|COMMIT|END)\b", re.IGNORECASE)
_EXISTS: Final = (
    "SELECT count(*) FROM main.sqlite_master WHERE type = '{}' AND name = {} COLLATE NOCASE"
)


class Sqlite(Dialect):
    """SQLite: a migration is one transaction, in which PRAGMA foreign_keys does nothing."""

    name: DialectName = "sqlite"
    syntax: Syntax = SYNTAX
    example = "ALTER TABLE … ADD COLUMN …;"
    adds_keys = False

    def split(self, text: str, *, file: str) -> Script:
        return split_sqlite(text, file=file)

    def existence_query(self, kind: Holder, name: str) -> str:
        return _EXISTS.format(kind, literal(name))

    def relation(self, live: Column, desired: Column, *, in_key: bool) -> Relation:
        return relation(live, desired, in_key=in_key)

    def is_left_to_engine(self, sql: str) -> bool:
        return _TRANSACTION.match(sql) is not None or switches_foreign_keys(sql) is not None

    def settle(self, steps: Sequence[Step]) -> Settled:
        return settle_section(steps)

    def settle_bound(self, section: Section, unbound: Section) -> Section:
        return settle_bound(section, unbound)

    def is_idle(self, sql: str) -> bool:
        return super().is_idle(sql) or switches_foreign_keys(sql) is not None

    def rebuilt_tables(self, steps: Iterable[Step]) -> frozenset[str]:
        return lint.rebuilt_tables(steps)

    def deletes_unnamed(self, up: Section, session: tuple[str, ...]) -> Iterator[Finding]:
        enforced = enforces_foreign_keys(session)
        for finding in lint.rebuild_with_foreign_keys(up):
            if enforced or finding.severity == "error":
                yield finding

    def lint(
        self,
        up: Section,
        down: Section | None,
        sync: Sequence[Step],
        *,
        bound: bool,
        equip: Equip | None = None,
    ) -> Iterator[Finding]:
        return lint.findings(up, down, sync, bound=bound, equip=equip)


SQLITE: Final = Sqlite()
