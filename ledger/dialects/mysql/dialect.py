"""The dialect of MySQL and MariaDB."""

from __future__ import annotations

import re
from typing import Final

from ledger.dialects.base import Dialect, Holder
from ledger.dialects.columns import NO_COLUMN
from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql import dumps
from ledger.dialects.mysql.lint import findings
from ledger.dialects.mysql.needs import doubts
from ledger.dialects.mysql.order import in_order
from ledger.dialects.mysql.problems import beyond_connection, cut_routine
from ledger.dialects.mysql.split import split_mysql
from ledger.dialects.mysql.syntax import SYNTAX, literal
from ledger.dialects.mysql.types import relation
from ledger.dialects.split import Statement
from ledger.dialects.steps import DialectName
from ledger.dialects.syntax import Syntax
from ledger.errors import ScriptError

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
    no_column = NO_COLUMN | {"INDEX", "KEY", "FULLTEXT", "SPATIAL", "PERIOD", "VECTOR"}

    split = staticmethod(split_mysql)
    relation = staticmethod(relation)
    is_dump = staticmethod(dumps.is_dump)
    dump_hint = staticmethod(dumps.dump_hint)
    dump_part = staticmethod(dumps.dump_part)
    in_order = staticmethod(in_order)
    doubts = staticmethod(doubts)
    lint = staticmethod(findings)

    def existence_query(self, kind: Holder, name: str) -> str:
        return _EXISTS.format(literal(name), "" if kind == "view" else "NOT ")

    def step_problem(
        self, statement: Statement, kind: StatementKind, *, file: str, kept: bool
    ) -> ScriptError | None:
        refused = None if kept else beyond_connection(statement, file=file)
        return refused or cut_routine(statement, kind, file=file)

    def is_idle(self, sql: str) -> bool:
        return super().is_idle(sql) or _SETTING.match(sql) is not None


MYSQL: Final = Mysql()
