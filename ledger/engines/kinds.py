"""The kinds of databases there are. Another one is a folder beside these, and a line in `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.dialects.steps import DialectName
from ledger.engines.kind import Kind
from ledger.engines.mysql.kind import MYSQL
from ledger.engines.sqlite.kind import SQLITE

KINDS: Final[Mapping[str, Kind]] = {"sqlite": SQLITE, "mysql": MYSQL}

DEFAULT: Final[DialectName] = "sqlite"
"""The dialect of migrations that no tenant follows yet, and of a new configuration's tenants."""
