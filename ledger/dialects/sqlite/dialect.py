"""The dialect of SQLite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ledger.dialects.base import Dialect, Holder
from ledger.dialects.findings import Finding
from ledger.dialects.sqlite.lint import findings, rebuild_with_foreign_keys, rebuilt_tables
from ledger.dialects.sqlite.pragmas import enforces_foreign_keys, switches_foreign_keys
from ledger.dialects.sqlite.split import split_sqlite
from ledger.dialects.sqlite.syntax import SYNTAX, literal
from ledger.dialects.sqlite.transaction import settle_bound, settle_section
from ledger.dialects.sqlite.types import relation
from ledger.dialects.steps import DialectName, Section
from ledger.dialects.syntax import Syntax

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
    own_space = "main"

    split = staticmethod(split_sqlite)
    relation = staticmethod(relation)
    settle = staticmethod(settle_section)
    settle_bound = staticmethod(settle_bound)
    rebuilt_tables = staticmethod(rebuilt_tables)
    lint = staticmethod(findings)

    def existence_query(self, kind: Holder, name: str) -> str:
        return _EXISTS.format(kind, literal(name))

    def is_left_to_engine(self, sql: str) -> bool:
        return _TRANSACTION.match(sql) is not None or switches_foreign_keys(sql) is not None

    def is_idle(self, sql: str) -> bool:
        return super().is_idle(sql) or switches_foreign_keys(sql) is not None

    def deletes_unnamed(self, up: Section, session: tuple[str, ...]) -> Iterator[Finding]:
        enforced = enforces_foreign_keys(session)
        for finding in rebuild_with_foreign_keys(up):
            if enforced or finding.severity == "error":
                yield finding


SQLITE: Final = Sqlite()
