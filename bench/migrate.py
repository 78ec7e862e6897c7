"""Migrate a fleet: ours (the whole command) beside the raw loop and beside every peer.

    python -m bench.migrate [--engine sqlite] [--tenants N] [--sync-delay MS]

P for SQLite, W for MariaDB. Ours is `ledger migrate --all-tenants` in a fresh
process, start-up included; of the raw loop and of peers that are libraries only
the loop itself is counted, without their start-up. Every side starts from fresh
tenants, and its work is looked at afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import shim
from bench.children import Reading, run_children
from bench.fleet import Fleet, MysqlFleet, fleet_of, no_server, work_folder
from bench.known_peers import Peer, orders_for, peers_for
from bench.machine import cores
from bench.measure import Readings, alternate, per_tenant, ratio, spread
from bench.options import Options
from bench.ours import CONNECTIONS, Product
from bench.report import Report, Table, TargetRow, main, unmeasured

OURS, OURS_BACKUP = "ledger migrate", "ledger migrate, backups on"
RAW, RAW_THREADS, RAW_CORES = "raw, 1 thread", "raw, 8 threads", "raw, a process a core"
RAW_BACKUP = "raw, 1 thread, backup API + fsync"
RAW_MYSQL = f"raw aiomysql, {CONNECTIONS} connections"
DELAY_MS = 2.0

ROWS = {
    "p-raw": ("P, backups off, whole command", "≤ 1.25 x raw, 1 thread"),
    "p-peer": ("the same beside the fastest peer, two at once", "≤ 0.7 x that peer"),
    "p-cores": ("the same beside raw on all cores (the aim)", "≤ 1.25 x raw on all cores"),
    "p-backup": ("P, backups on, whole command", "≤ 1.25 x (raw + backup API + fsync)"),
    "p-delay": (f"P with +{DELAY_MS:g} ms per sync", "≤ 1.25 x raw, 8 threads"),
    "w-raw": ("W, backups off, whole command", f"≤ 1.15 x {RAW_MYSQL}"),
}


class Contender(NamedTuple):
    """A side: on how many tenants it is measured, and how it migrates them."""

    tenants: int
    go: Callable[[list[str]], Reading]


def contest(fleet: Fleet, product: Product, sides: dict[str, Contender], rounds: int) -> Readings:
    """Alternate the sides; readings are seconds per tenant."""
    fresh: list[str] = []

    def before(name: str) -> None:
        product.forget()
        shutil.rmtree(product.folder / "raw-backups", ignore_errors=True)
        fresh[:] = fleet.fresh(sides[name].tenants)

    def reading(side: Contender) -> Reading:
        return per_tenant(side.go(fresh), side.tenants)

    return alternate(
        {name: partial(reading, side) for name, side in sides.items()},
        rounds,
        before=before,
        after=lambda name: fleet.check(sides[name].tenants),
    )


class Ring:
    """What all contenders of one engine share."""

    def __init__(self, engine: str, fleet: Fleet, folder: Path, options: Options) -> None:
        self.engine, self.fleet, self.options = engine, fleet, options
        self.folder = folder
        self.tenants = len(fleet.targets)
        self.product = Product.over(folder / "ours", fleet)
        self.extra = shim.environment(folder, delay_ms=options.sync_delay_ms)
        self.server = fleet.server if isinstance(fleet, MysqlFleet) else None

    def ours(self, *, backup: bool = False) -> Contender:
        """The product's command."""
        return Contender(
            self.tenants, lambda _: self.product.migrate(backup=backup, extra=self.extra)
        )

    def raw(self, *, threads: int = 1, at_once: int = 1, backup: bool = False) -> Contender:
        """The raw loop in a child of its own."""
        more = {"threads": threads}
        if backup:
            more["backups"] = str(self.product.folder / "raw-backups")  # type: ignore[assignment]

        def go(targets: list[str]) -> Reading:
            orders = orders_for(self.engine, targets, self.folder, self.server) | more
            return run_children("bench.raw", orders, at_once=at_once, extra=self.extra)

        return Contender(self.tenants, go)

    def peer(self, peer: Peer, at_once: int) -> Contender:
        """A peer, on fewer tenants where it is slow: the ratio is per tenant."""
        fast = {"quick": 4, "modest": 24, "full": 48 if self.engine == "sqlite" else 24}
        slow = {"quick": 2, "modest": 6, "full": 8}
        most = (slow if peer.name == "sqitch" else fast)[self.options.size]
        folder = self.folder / "peers"
        folder.mkdir(exist_ok=True)

        def go(targets: list[str]) -> Reading:
            return peer.run(orders_for(self.engine, targets, folder, self.server), at_once)

        return Contender(min(most, self.tenants), go)


def label(peer: Peer, at_once: int) -> str:
    """How a peer's line is headed."""
    return f"{peer.name}, {'serial' if at_once == 1 else 'two at once'}"


def sides_of(ring: Ring, peers: list[Peer]) -> dict[str, Contender]:
    """All sides of one engine."""
    if ring.engine == "sqlite":
        sides = {
            OURS: ring.ours(),
            RAW: ring.raw(),
            RAW_THREADS: ring.raw(threads=8),
            RAW_CORES: ring.raw(at_once=cores()),
            OURS_BACKUP: ring.ours(backup=True),
            RAW_BACKUP: ring.raw(backup=True),
        }
    else:
        sides = {OURS: ring.ours(), RAW_MYSQL: ring.raw(threads=CONNECTIONS)}
    for peer in peers:
        for at_once in (1, 2):
            sides[label(peer, at_once)] = ring.peer(peer, at_once)
    return sides


def table_of(
    ring: Ring, sides: dict[str, Contender], readings: Readings, notes: list[str]
) -> Table:
    """Medians per tenant, and ours over each side."""
    rows = []
    for name, one in readings.items():
        base = OURS_BACKUP if name in (OURS_BACKUP, RAW_BACKUP) else OURS
        against = "" if name == base else str(ratio(readings[base], one))
        rows.append((name, str(sides[name].tenants), spread(one, 1000), against))
    delay = ring.options.sync_delay_ms
    return Table(
        title=f"{ring.fleet.workload.name} ({ring.engine}), {ring.tenants} tenants"
        + (f", +{delay:g} ms per sync" if delay else ""),
        columns=("side", "tenants", "ms/tenant (low-high)", "ours / side (low-high)"),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def target(
    key: str, readings: Readings, ours: str, theirs: str, limit: float, note: str = ""
) -> TargetRow:
    """A row of the target table from two sides."""
    what, text = ROWS[key]
    found = ratio(readings[ours], readings[theirs])
    return TargetRow(
        key=key,
        what=what,
        target=text,
        measured=str(found),
        met=found.median <= limit,
        value=found.median,
        note=note,
    )


def fastest_peer(readings: Readings, peers: list[Peer]) -> str | None:
    """The label of the peer that is fastest two at once."""
    names = [label(peer, 2) for peer in peers]
    return min(names, key=lambda name: min(one.seconds for one in readings[name]), default=None)


def targets_of(readings: Readings, peers: list[Peer]) -> list[TargetRow]:
    """The rows that one engine's readings fill."""
    if RAW_MYSQL in readings:
        return [target("w-raw", readings, OURS, RAW_MYSQL, 1.15)]
    fastest = fastest_peer(readings, peers)
    if fastest is None:
        peer_row = unmeasured("p-peer", *ROWS["p-peer"], "no peer was run")
    else:
        peer_row = target("p-peer", readings, OURS, fastest, 0.7, f"the fastest is {fastest}")
    return [
        target("p-raw", readings, OURS, RAW, 1.25),
        peer_row,
        target("p-cores", readings, OURS, RAW_CORES, 1.25),
        target("p-backup", readings, OURS_BACKUP, RAW_BACKUP, 1.25),
    ]


def delayed(ring: Ring, rounds: int) -> tuple[list[Table], TargetRow]:
    """The reading with a slower disk: ours against the raw loop in 8 threads."""
    try:
        ring.extra = shim.environment(ring.folder, delay_ms=DELAY_MS)
    except shim.NoCompilerError as error:
        return [], unmeasured("p-delay", *ROWS["p-delay"], str(error))
    sides = {OURS: ring.ours(), RAW_THREADS: ring.raw(threads=8)}
    readings = contest(ring.fleet, ring.product, sides, rounds)
    table = table_of(ring, sides, readings, [f"+{DELAY_MS:g} ms in every sync of both sides"])
    return [table], target("p-delay", readings, OURS, RAW_THREADS, 1.25)


def run(options: Options) -> Report:
    """Every engine asked for."""
    tables: list[Table] = []
    targets: list[TargetRow] = []
    for engine in options.engines:
        why = no_server(options) if engine == "mysql" else None
        if why is not None:
            targets.append(unmeasured("w-raw", *ROWS["w-raw"], why))
            continue
        if engine == "sqlite":
            count = options.pick(quick=20, modest=1000, full=1000)
        else:
            count = options.pick(quick=8, modest=200, full=200)
        peers, missing = peers_for(engine) if options.peers else ([], [])
        with work_folder(options) as folder, fleet_of(engine, count, folder, options) as fleet:
            ring = Ring(engine, fleet, folder, options)
            sides = sides_of(ring, peers)
            readings = contest(fleet, ring.product, sides, options.rounds())
            if engine == "mysql" and options.sync_delay_ms:
                missing.append("the delay acts on this machine's processes, not on the server")
            tables.append(table_of(ring, sides, readings, missing))
            targets += targets_of(readings, peers)
            if engine == "sqlite" and not options.sync_delay_ms:
                more, row = delayed(ring, options.rounds())
                tables += more
                targets.append(row)
    return Report(script="migrate", tables=tuple(tables), targets=tuple(targets))


if __name__ == "__main__":
    main("migrate", __doc__, run)
