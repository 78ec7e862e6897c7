"""The dialect of MySQL and MariaDB."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from ledger.dialects.base import Dialect, Doubt, DumpPart, Equip, Holder, Relation
from ledger.dialects.findings import Finding
from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql import dumps, lint, needs
from ledger.dialects.mysql.order import in_order
from ledger.dialects.mysql.problems import beyond_connection, cut_routine
from ledger.dialects.mysql.split import split_mysql
from ledger.dialects.mysql.syntax import SYNTAX, literal
from ledger.dialects.mysql.types import relation
from ledger.dialects.split import Script, Statement
from ledger.dialects.steps import DialectName, Section, Step
from ledger.dialects.syntax import Syntax
from ledger.errors import ScriptError
from ledger.schema import Column

_SETTING: Final = re.compile(
    r"SET\s+(?!@@(?:GLOBAL|PERSIST)|GLOBAL\b|PERSIST|PASSWORD\b|ROLE\b|DEFAULT\b|RESOURCE\b)[^(]*\Z",
    re.IGNORECASE,
)
_EXISTS: Final = (
    "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
    " AND TABLE_NAME = {} AND TABLE_TYPE {}LIKE '%VIEW'"
)


class Mysql(Dialect):
    """MySQL and MariaDB: definitions commit by themselves, and a connection holds what steps share."""

    name: DialectName = "mysql"
    syntax: Syntax = SYNTAX
    example = "ALTER TABLE {prefix}… ADD COLUMN …;"
    adds_keys = True
    named_checks = True
    routine_hint = "; a routine with several statements stands between DELIMITER $$ and DELIMITER ;"

    def split(self, text: str, *, file: str) -> Script:
        return split_mysql(text, file=file)

    def existence_query(self, kind: Holder, name: str) -> str:
        return _EXISTS.format(literal(name), "" if kind == "view" else "NOT ")

    def relation(self, live: Column, desired: Column, *, in_key: bool) -> Relation:
        return relation(live, desired)

    def dump_hint(self, head: str, *, line: str = "", wide: bool = False) -> str:
        return dumps.dump_hint(head, line=line, wide=wide)

    def is_dump(self, text: str) -> bool:
        return dumps.is_dump(text)

    def dump_part(self, sql: str, *, dump: bool, sync: bool) -> DumpPart:
        return dumps.dump_part(sql, dump=dump, sync=sync)

    def step_problem(
        self, statement: Statement, kind: StatementKind, *, file: str, kept: bool
    ) -> ScriptError | None:
        refused = None if kept else beyond_connection(statement, file=file)
        return refused or cut_routine(statement, kind, file=file)

    def is_idle(self, sql: str) -> bool:
        return super().is_idle(sql) or _SETTING.match(sql) is not None

    def in_order(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        return in_order(steps)

    def doubts(self, steps: Sequence[Step]) -> Iterator[Doubt]:
        return needs.doubts(steps)

    def lint(
        self,
        up: Section,
        down: Section | None,
        sync: Sequence[Step],
        *,
        bound: bool,
        equip: Equip | None = None,
    ) -> Iterator[Finding]:
        return lint.findings(up, down, sync)


MYSQL: Final = Mysql()
