"""Dialects: how each kind of database splits, reads and judges SQL."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, assert_never, get_args

from ledger.dialects.base import Dialect
from ledger.dialects.steps import DialectName

__all__ = ["NAMES", "Dialect", "DialectName", "dialect_of"]

NAMES: Final[tuple[DialectName, ...]] = get_args(DialectName)


@lru_cache
def dialect_of(name: DialectName) -> Dialect:
    """The dialect of this name; an AssertionError for any other. Its module is loaded when first asked for."""
    match name:
        case "sqlite":
            from ledger.dialects.sqlite.dialect import SQLITE

            return SQLITE
        case "mysql":
            from ledger.dialects.mysql.dialect import MYSQL

            return MYSQL
        case _:
            assert_never(name)
