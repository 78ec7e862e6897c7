"""What a server and its account must allow before the first step of a run, asked once for each server.

Invariant: `probes` are three statements that read, and a lock of its own that is freed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.drivers.mysql import MysqlConnection
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.base import Target
from ledger.engines.mysql.doctor.grants import missing
from ledger.engines.mysql.scratch import leftovers
from ledger.engines.probes import Probe

VARIABLES: Final = """
SHOW GLOBAL VARIABLES WHERE Variable_name IN (
    'read_only', 'super_read_only', 'wsrep_on', 'max_allowed_packet',
    'innodb_flush_log_at_trx_commit', 'log_bin', 'sync_binlog'
)
"""
LOCK: Final = "SELECT GET_LOCK('ledger:preflight', 0), RELEASE_LOCK('ledger:preflight')"
OVERRULES_READ_ONLY: Final = (
    "ALL PRIVILEGES ON *.*",
    "SUPER",
    "READ ONLY ADMIN",
    "READ_ONLY ADMIN",
)
PACKET_SPARE: Final = 1024


async def probes(
    connection: MysqlConnection,
    targets: Sequence[Target],
    *,
    statement_bytes: int,
    statements: Sequence[str] = (),
) -> list[Probe]:
    """What is not as it should be; `targets` are this server's, of one account. Raises DriverError."""
    rows = await connection.fetch(VARIABLES)
    values = {str(name).lower(): str(value).upper() for name, value in rows}
    grants = [str(row[0]) for row in await connection.fetch("SHOW GRANTS")]
    found = [*_writable(values, grants), *_privileges(grants, targets[0], statements)]
    limit = int(values.get("max_allowed_packet", "0") or 0)
    if limit and statement_bytes + PACKET_SPARE > limit:
        found.append(
            Probe(
                check="max_allowed_packet",
                level="failed",
                detail=f"a statement has {statement_bytes} bytes, and the server takes {limit}",
                hint="Raise max_allowed_packet on the server, or split the statement.",
            )
        )
    return [*found, *_durability(values), *await _locks(connection, values)]


async def prepare(
    connection: MysqlConnection,
    targets: Sequence[Target],
    *,
    statement_bytes: int,
    statements: Sequence[str],
) -> list[Probe]:
    """As `probes`, and drop what killed commands have left on the server."""
    found = await probes(
        connection, targets, statement_bytes=statement_bytes, statements=statements
    )
    if not any(probe.check in ("locks", "read_only") for probe in found):
        await leftovers.sweep(connection)
    return found


def _on(values: dict[str, str], name: str) -> bool:
    return values.get(name, "OFF") not in ("OFF", "0", "NO_LOCK")


def _writable(values: dict[str, str], grants: Sequence[str]) -> list[Probe]:
    hint = "Name the primary, not a replica."
    if _on(values, "super_read_only"):
        return [Probe(check="read_only", level="failed", detail="super_read_only is on", hint=hint)]
    if not _on(values, "read_only"):
        return []
    may = any(words in line.upper() for line in grants for words in OVERRULES_READ_ONLY)
    return [
        Probe(
            check="read_only",
            level="warning" if may else "failed",
            detail="the server is read-only" + (", but not for this account" if may else ""),
            hint=hint,
        )
    ]


def _privileges(grants: Sequence[str], target: Target, statements: Sequence[str]) -> list[Probe]:
    """What these statements need of one database of the server; in the others the steps themselves fail."""
    database = getattr(target.url, "database", None) or ""
    lacking = missing(grants, database, statements=statements)
    if not lacking.to_migrate or lacking.by_role:
        return []
    words = ", ".join(lacking.to_migrate)
    return [
        Probe(
            check="privileges",
            level="failed",
            detail=f"the account lacks {words} on {database} (tenant {target.name})",
            hint=f"GRANT {words} ON `{database}`.* to the account.",
        )
    ]


def _durability(values: dict[str, str]) -> list[Probe]:
    found = []
    flush = values.get("innodb_flush_log_at_trx_commit", "1")
    if flush != "1":
        found.append(
            Probe(
                check="durability",
                level="warning",
                detail=f"innodb_flush_log_at_trx_commit is {flush}: a power loss can take back"
                " what was committed",
                hint="Set it to 1; a tenant that went back is noticed and brought forward.",
            )
        )
    if _on(values, "log_bin") and values.get("sync_binlog", "1") != "1":
        found.append(
            Probe(
                check="durability",
                level="warning",
                detail=f"sync_binlog is {values['sync_binlog']}: replicas may lack what was committed",
                hint="Set it to 1.",
            )
        )
    return found


async def _locks(connection: MysqlConnection, values: dict[str, str]) -> list[Probe]:
    if _on(values, "wsrep_on"):
        return [
            Probe(
                check="locks",
                level="warning",
                detail="this is a Galera node: GET_LOCK holds on this node only",
                hint="Send all migrations to the same node.",
            )
        ]
    try:
        got = (await connection.fetch(LOCK))[0][0]
    except QueryError as error:
        got = error
    # 0: another run asks the same question at this moment.
    if got in (0, 1):
        return []
    return [
        Probe(
            check="locks",
            level="warning",
            detail=f"GET_LOCK does not work here ({got}): the marker's epoch alone fences tenants",
            hint="Let one host at a time migrate the tenants of this server.",
        )
    ]
