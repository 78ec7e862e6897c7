"""What `doctor` finds in a tenant of MySQL or MariaDB: server, account, tables, marker.

Invariant: only statements that read are sent; nothing is locked for longer than one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.base import Target
from ledger.engines.mysql.backup.clients import dump_program
from ledger.engines.mysql.doctor import preflight
from ledger.engines.mysql.doctor.grants import SCRATCH_DATABASES, may_make_scratch, missing
from ledger.engines.mysql.lock.marker import MarkerTable, as_marker
from ledger.engines.mysql.schema.introspect import SchemaReader
from ledger.engines.mysql.schema.objects import Names
from ledger.engines.mysql.scratch import leftovers
from ledger.engines.mysql.shared import Shared
from ledger.engines.probes import SHOWN, Probe, Probed, probed, quoted
from ledger.engines.work import Marker
from ledger.errors import TenantError

LEAST: Final = {"mariadb": (10, 6), "mysql": (8, 0)}
NAMES: Final = {"mariadb": "MariaDB", "mysql": "MySQL"}
CHECKED_AT_ONCE: Final = 50

LIMIT: Final = "SHOW GLOBAL VARIABLES LIKE 'max_connections'"
CONNECTED: Final = "SHOW GLOBAL STATUS LIKE 'Threads_connected'"
OTHER_ENGINES: Final = """
SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' AND ENGINE <> 'InnoDB'
"""


async def probe(
    connection: MysqlConnection, target: Target, names: Names, shared: Shared, *, quick: bool
) -> Probed:
    """Everything that reading shows. Raises DriverError if the connection goes away."""
    table = MarkerTable(target)
    grants = [str(row[0]) for row in await connection.fetch("SHOW GRANTS")]
    probes = [_version(connection), _privileges(grants, names.database), *_scratch(grants)]
    probes += await _server(connection, target)
    probes.append(await _dump(connection, target, shared))
    listing = await SchemaReader(target, names, table.name, shared).listing(connection)
    probes.append(await _engines(connection, frozenset(listing.tables)))
    if not quick:
        probes.append(await _tables(connection, listing.tables))
    marker: Marker | Exception
    try:
        marker = as_marker(await table.read(connection, bodies=True))
    except (QueryError, TenantError) as error:
        marker = error
    return probed(probes, marker, table=table.name)


def _version(connection: MysqlConnection) -> Probe:
    server = connection.server
    least = LEAST[server.flavor]
    said = f"{NAMES[server.flavor]} {server.text}"
    if server.version[:2] < least:
        return Probe(
            check="version",
            level="failed",
            detail=f"{said} is older than {'.'.join(map(str, least))}",
            hint="A crash in the middle of a statement can leave older servers between two states.",
        )
    return Probe(check="version", detail=said)


def _scratch(grants: Sequence[str]) -> list[Probe]:
    if may_make_scratch(grants) is not False:
        return []
    return [
        Probe(
            check="scratch_databases",
            level="warning",
            detail="may not make databases named ledger_scratch_…, which `rehearse`, `validate --schema`,"
            " some crashes, and sections migrate:sync of tables that are there already and have FULLTEXT"
            " indexes, partitions or a column's REFERENCES need",
            hint=f"An administrator can GRANT ALL ON {SCRATCH_DATABASES} TO this account.",
        )
    ]


def _privileges(grants: Sequence[str], database: str) -> Probe:
    lacking = missing(grants, database)
    if not lacking.to_migrate and not lacking.to_back_up:
        return Probe(check="privileges", detail="all that migrations and backups need")
    lacks = []
    if lacking.to_migrate:
        lacks.append(
            ("for migrations: " if lacking.always else "for some migrations: ")
            + ", ".join(lacking.to_migrate)
        )
    if lacking.to_back_up:
        lacks.append("for backups: " + ", ".join(lacking.to_back_up))
    every = ", ".join((*lacking.to_migrate, *lacking.to_back_up))
    # What a role brings does not show here: then it is a doubt and no finding.
    # Without the others a migration fails only if it does what they are for.
    certain = bool(lacking.always) and not lacking.by_role
    return Probe(
        check="privileges",
        level="failed" if certain else "warning",
        detail="not granted " + "; ".join(lacks),
        hint=f"GRANT {every} ON {quote_identifier(database)}.* TO this account.",
    )


async def _server(connection: MysqlConnection, target: Target) -> list[Probe]:
    """What every run asks of a server before it begins, and whether there is room for its connections."""
    found = await preflight.probes(connection, [target], statement_bytes=0)
    # `_privileges` reports it in full.
    probes = [probe for probe in found if probe.check != "privileges"]
    used = int((await connection.fetch(CONNECTED))[0][1])
    free = int((await connection.fetch(LIMIT))[0][1]) - used
    if free < target.max_connections:
        probes.append(
            Probe(
                check="server",
                level="warning",
                detail=f"{free} connections are free, and max_connections here is"
                f" {target.max_connections}",
                hint=f"Lower max_connections in {target.source}, or raise the server's.",
            )
        )
    else:
        probes.append(Probe(check="server", detail=f"{free} connections free"))
    if left := await leftovers.left(connection):
        probes.append(
            Probe(
                check="scratch",
                level="warning",
                detail=f"a killed command has left {quoted(left, by=', ')}",
                hint=f"The next run that changes a tenant drops it, or: DROP DATABASE `{left[0]}`.",
            )
        )
    return probes


async def _dump(connection: MysqlConnection, target: Target, shared: Shared) -> Probe:
    try:
        program = await dump_program(connection.server, shared.dump_programs, tenant=target.name)
    except TenantError as error:
        return Probe(check="backup_client", level="failed", detail=error.message, hint=error.hint)
    return Probe(check="backup_client", detail=program.path)


async def _engines(connection: MysqlConnection, own: frozenset[str]) -> Probe:
    rows = await connection.fetch(OTHER_ENGINES)
    others = [f"{name} ({engine})" for name, engine in rows if name in own]
    if not others:
        return Probe(check="engines", detail="InnoDB")
    return Probe(
        check="engines",
        level="warning",
        detail="without transactions: " + quoted(others, by=", "),
        hint="A crash in the middle of a statement on them cannot be settled: ALTER TABLE … ENGINE=InnoDB.",
    )


async def _tables(connection: MysqlConnection, tables: Sequence[str]) -> Probe:
    """CHECK TABLE reads every row; what it says of a sound table is one `status` row."""
    bad = []
    for start in range(0, len(tables), CHECKED_AT_ONCE):
        names = ", ".join(
            quote_identifier(table) for table in tables[start : start + CHECKED_AT_ONCE]
        )
        for name, _op, kind, text in await connection.fetch(f"CHECK TABLE {names}"):
            if str(kind).lower() in ("error", "warning"):
                bad.append(f"{name}: {text}")
    if not bad:
        return Probe(check="integrity", detail=f"CHECK TABLE: {len(tables)} ok")
    return Probe(
        check="integrity",
        level="failed",
        detail="CHECK TABLE: " + "; ".join(bad[:SHOWN]),
        hint="Do not migrate it. Restore the table, or see the server's own log.",
    )
