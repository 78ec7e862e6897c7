"""Nothing to do: a whole fleet that is current, and whether a tenant that was put back is noticed.

    python -m bench.noop [--tenants N]

SQLite: seconds of `ledger migrate` beyond the same command with one tenant.
MariaDB: the commands that reach the server, counted on the wire between, with
few tenants and with many: they may not grow with the tenants.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
from pathlib import Path

import msgspec

from bench.fleet import (
    Fleet,
    MysqlFleet,
    SqliteFleet,
    WorkloadError,
    fleet_of,
    no_server,
    work_folder,
)
from bench.measure import alternate, spread
from bench.options import Options
from bench.ours import Product
from bench.proxy import CountingProxy
from bench.report import Report, Table, TargetRow, main, unmeasured

FILES = ("nothing to do, SQLite, beyond start-up", "≤ 1 s (10,000 tenants)")
NOTICED = ("a tenant put back behind our back is brought forward", "noticed (DELETE and WAL mode)")
QUERIES = ("nothing to do, MariaDB", "one query a server, not one a tenant")
FEW = 3
JUDGED = 500
"""With fewer tenants the difference of two start-ups is noise."""


def sqlite_noop(options: Options) -> tuple[Table, list[TargetRow]]:
    """The fleet once for real, then again with nothing to do, beside a fleet of one."""
    count = options.pick(quick=20, modest=1000, full=10_000)
    with work_folder(options) as folder:
        fleet = SqliteFleet(folder / "tenants", count)
        product = migrated(fleet, folder / "many")
        single = SqliteFleet(folder / "single", 1)
        alone = migrated(single, folder / "one")
        sides = {f"{count} tenants": product.migrate, "1 tenant": alone.migrate}
        readings = alternate(sides, options.rounds())
        many, one = readings.values()
        beyond = statistics.median(a.seconds - b.seconds for a, b in zip(many, one, strict=True))
        noticed = [notices(product, fleet, 0, wal=False), notices(product, fleet, 1, wal=True)]
    table = Table(
        title="Nothing to do, SQLite",
        columns=("side", "s, whole command (low-high)"),
        rows=tuple((name, spread(of, 1)) for name, of in readings.items()),
        notes=(f"beyond start-up: {beyond:.2f} s, {beyond / count * 1e6:.0f} us a tenant",),
    )
    time_row = TargetRow(
        key="noop-sqlite",
        what=FILES[0],
        target=FILES[1],
        measured=f"{beyond:.2f} s with {count}",
        met=beyond <= count / 10_000 if count >= JUDGED else None,
        value=beyond,
        note="" if count >= 10_000 else f"{count} tenants: held to 0.1 ms each, from {JUDGED} on",
    )
    said = ", ".join(
        f"{mode}: {'noticed' if seen else 'not noticed'}"
        for mode, seen in zip(("DELETE", "WAL"), noticed, strict=True)
    )
    seen_row = TargetRow(
        key="noop-notices", what=NOTICED[0], target=NOTICED[1], measured=said, met=all(noticed)
    )
    return table, [time_row, seen_row]


def migrated(fleet: Fleet, folder: Path) -> Product:
    """A fleet that is current."""
    product = Product.over(folder, fleet)
    fleet.fresh(len(fleet.targets))
    product.migrate()
    fleet.check(len(fleet.targets))
    return product


def notices(product: Product, fleet: SqliteFleet, number: int, *, wal: bool) -> bool:
    """Put one tenant back to before its migration, run again, and see whether it has it again.

    In WAL mode the older state lies in the -wal file alone while another
    connection holds the database open: the main file's header says nothing.
    """
    target = fleet.targets[number]
    if not wal:
        shutil.copyfile(fleet.template, target)
        product.migrate()
        return _has_workload(fleet, number)
    held = sqlite3.connect(target)
    held.execute("PRAGMA journal_mode = WAL").fetchone()
    product.migrate()  # It looks at the changed mode once, so that the header is known.
    template = sqlite3.connect(fleet.template)
    template.backup(held)
    template.close()
    try:
        product.migrate()
        return _has_workload(fleet, number)
    finally:
        held.close()


def _has_workload(fleet: SqliteFleet, number: int) -> bool:
    try:
        fleet.check_one(fleet.targets[number])
    except WorkloadError:
        return False
    return True


def mysql_noop(options: Options) -> tuple[Table, TargetRow]:
    """Count what reaches the server for few tenants and for many."""
    many = options.pick(quick=6, modest=60, full=1000)
    rows = []
    counts = []
    for count in (FEW, many):
        with work_folder(options) as folder, fleet_of("mysql", count, folder, options) as fleet:
            assert isinstance(fleet, MysqlFleet)
            with CountingProxy(fleet.server.url) as proxy:
                product = migrated(fleet, folder / "ours")
                product.write(
                    fleet.config(
                        msgspec.structs.replace(
                            fleet.server.url, host="127.0.0.1", port=proxy.port, unix_socket=None
                        )
                    )
                )
                # The tenants' address is another one now: the first look settles that.
                product.migrate()
                proxy.forget()
                reading = product.migrate()
                seen = proxy.commands()
        counts.append(len(seen))
        rows.append((f"{count} tenants", str(len(seen)), f"{reading.seconds:.2f}"))
        last = seen
    growth = counts[1] - counts[0]
    table = Table(
        title="Nothing to do, MariaDB",
        columns=("fleet", "commands on the wire", "s, whole command"),
        rows=tuple(rows),
        notes=("the last run's commands:", *(one[:160] for one in last[:12])),
    )
    row = TargetRow(
        key="noop-mysql",
        what=QUERIES[0],
        target=QUERIES[1],
        measured=f"{counts[0]} commands with {FEW} tenants, {counts[1]} with {many}",
        met=growth == 0,
        value=float(growth),
        note="session settings and the discovery of tenants are among the commands",
    )
    return table, row


def run(options: Options) -> Report:
    """Both engines."""
    tables: list[Table] = []
    targets: list[TargetRow] = []
    if "sqlite" in options.engines:
        table, rows = sqlite_noop(options)
        tables.append(table)
        targets += rows
    if "mysql" in options.engines:
        why = no_server(options)
        if why is not None:
            targets.append(unmeasured("noop-mysql", *QUERIES, why))
        else:
            table, row = mysql_noop(options)
            tables.append(table)
            targets.append(row)
    return Report(script="noop", tables=tuple(tables), targets=tuple(targets))


if __name__ == "__main__":
    main("noop", __doc__, run)
