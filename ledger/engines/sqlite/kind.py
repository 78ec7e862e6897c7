"""SQLite as a kind of database: what is known of it without opening a file."""

from __future__ import annotations

from typing import Final

from ledger.engines.kind import Example, Kind
from ledger.engines.source import APPLICATION_KEYS
from ledger.engines.sqlite.source import read

SQLITE: Final = Kind(
    label="SQLite",
    engine="ledger.engines.sqlite.engine:SqliteEngine",
    throwaway="ledger.engines.sqlite.throwaway:throwaway",
    backup_suffix=".db",
    backup_format="sqlite",
    backup_check="ledger.engines.sqlite.backup.backup:check",
    has_server=False,
    keys=APPLICATION_KEYS | {"create", "prefix"},
    read=read,
    batch="ledger.engines.sqlite.batch:SqliteBatch",
    example=Example(
        metavar="GLOB",
        help="Tenants are these SQLite files: 'data/*.db'.",
        default="data/*.db",
        asked="""
[[tenants]]                           # one SQLite file per tenant
sqlite = {value}
# create = true                       # make a missing file (only where the path has no * or ?)
""",
        else_="""
# [[tenants]]                         # one SQLite file per tenant
# sqlite = "data/*.db"
""",
    ),
)
