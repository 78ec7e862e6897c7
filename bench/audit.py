"""A large ledger: bytes an event, and what each way of reading it costs beyond start-up.

    python -m bench.audit [--engine sqlite|mysql] [--quick | --full] [--dir FOLDER]

10^5 events over 10,000 tenants; with --full 10^6 too, and on SQLite 10^7. Ledgers are kept in a
cache folder and used again. Start-up is the same command on a ledger of one tenant with as many
runs, measured in alternation.
"""

from __future__ import annotations

import statistics
import sys

import anyio
import msgspec

from bench.audit_fleet import EVENTS_EACH, Audit, audit_of
from bench.children import Reading, run_command
from bench.fleet import no_server
from bench.measure import alternate
from bench.options import Options
from bench.ours import PYTHON
from bench.report import Report, Table, TargetRow, main, unmeasured
from bench.server import Server
from ledger.stores import open_store
from ledger.stores.base import Filter

PAGE = ("--limit", "50")
PAGE_SECONDS = 0.1
TENANT_SECONDS = 0.05
STATUS_SECONDS = 0.5
THEN_SECONDS = 2.0
PEAK_MIB = 100.0
BYTES_EVENT = 190
BYTES_MIGRATION = 3_500
ALONE_ROUNDS = 10
TENANT = "t000000"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A command, and the most that it may take beyond start-up."""

    what: str
    seconds: float
    arguments: tuple[str, ...]


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Values to ask for: a run from the middle of the ledger, and times around it."""

    run: str
    actor: str
    since: str
    until: str


async def _places(audit: Audit) -> Places:
    config = audit.config
    async with open_store(config.url, config.secret) as store:
        head = await store.head()

        async def at(seq: int) -> tuple[str, str, str]:
            async for rows in store.read(Filter(after_seq=seq, until_seq=seq + 1)):
                return rows[0].run, rows[0].actor, rows[0].at
            raise AssertionError(f"there is no event {seq + 1}")

        run, actor, since = await at(head.seq // 2)
        _, _, until = await at(min(head.seq // 2 + 5_000, head.seq - 1))
    return Places(run=run, actor=actor, since=since, until=until)


def looks(places: Places) -> tuple[Look, ...]:
    """Every row of the table of reading."""
    history = {
        "TENANT": (TENANT,),
        "--run": ("--run", places.run),
        "--type": ("--type", "run_finished"),
        "--actor": ("--actor", places.actor),
        "--migration": ("--migration", "001"),
        "--since --until": ("--since", places.since, "--until", places.until),
    }
    return (
        *(
            Look(what=f"history {name}", seconds=PAGE_SECONDS, arguments=("history", *words, *PAGE))
            for name, words in history.items()
        ),
        Look(
            what="status --tenant ONE",
            seconds=TENANT_SECONDS,
            arguments=("status", "--tenant", TENANT),
        ),
        Look(
            what="plan --tenant ONE", seconds=TENANT_SECONDS, arguments=("plan", "--tenant", TENANT)
        ),
        Look(
            what="migrate --tenant ONE",
            seconds=TENANT_SECONDS,
            arguments=("migrate", "--tenant", TENANT),
        ),
        Look(what="status", seconds=STATUS_SECONDS, arguments=("status",)),
        Look(
            what="status --at",
            seconds=THEN_SECONDS,
            arguments=("status", "--at", places.since),
        ),
    )


WHOLE = {
    "history": ("history",),
    "stats": ("stats",),
    "export": ("export", "--events"),
    "tenants": ("tenants",),
    "runs": ("runs",),
}
"""Listings of everything, whose memory is watched."""


def measure(audit: Audit, alone: Audit, options: Options) -> tuple[list[Table], list[TargetRow]]:
    """One ledger beside that of one tenant."""
    server = Server.parse(options.server) if audit.engine == "mysql" else None
    size = audit.bytes(server)
    label = f"{audit.engine}, {audit.events:,} events"
    each = size / audit.events
    rows = [
        _row(audit, "bytes an event on disk", BYTES_EVENT, each, f"{each:.0f}"),
        _row(
            audit,
            f"bytes of a tenant's {EVENTS_EACH - 3}-step migration",
            BYTES_MIGRATION,
            each * EVENTS_EACH,
            f"{each * EVENTS_EACH:,.0f}",
        ),
    ]
    many, one = looks(anyio.run(_places, audit)), looks(anyio.run(_places, alone))
    for look, start_up in zip(many, one, strict=True):
        sides = {
            "many": lambda look=look: _command(audit, *look.arguments),
            "one": lambda look=start_up: _command(alone, *look.arguments),
        }
        readings = alternate(sides, options.rounds())
        beyond, cpu = _beyond(readings["many"], readings["one"])
        measured = f"{beyond:.0f} (CPU {cpu:.0f})"
        rows.append(_row(audit, f"{look.what}, ms", look.seconds * 1000, beyond, measured))
    beyond, _ = _beyond(*(_from_python(one, options) for one in (audit, alone)))
    rows.append(
        _row(
            audit, "Ledger.open().migrate(ONE), ms", TENANT_SECONDS * 1000, beyond, f"{beyond:.0f}"
        )
    )
    for what, words in WHOLE.items():
        peak = _command(audit, *words, watch_memory=True).peak_mib
        rows.append(_row(audit, f"{what}, peak MiB", PEAK_MIB, peak, f"{peak:.0f}"))
    table = Table(
        title=f"The audit on {label}, {audit.tenants:,} tenants",
        columns=("what", "target", "measured", "ratio", "met"),
        rows=tuple(
            (
                row.what.partition(": ")[2],
                row.target,
                row.measured,
                f"{(row.value or 0) / limit:.2f}",
                "yes" if row.met else "no",
            )
            for row, limit in rows
        ),
        notes=("times are beyond start-up: less those of the same command on a fleet of one",),
    )
    return [table], [row for row, _ in rows]


def _row(
    audit: Audit, what: str, limit: float, value: float, measured: str
) -> tuple[TargetRow, float]:
    key = "-".join(what.replace(",", "").replace("'", "").split())
    row = TargetRow(
        key=f"audit-{audit.engine}-{audit.events}-{key}",
        what=f"{audit.engine}, {audit.events:,} events: {what}",
        target=f"≤ {limit:,.0f}",
        measured=measured,
        met=value <= limit,
        value=value,
    )
    return row, limit


def _command(audit: Audit, *arguments: str, watch_memory: bool = False) -> Reading:
    reading = run_command([*PYTHON, *arguments], cwd=audit.folder, watch_memory=watch_memory)
    return msgspec.structs.replace(reading, output="")


def _beyond(many: list[Reading], one: list[Reading]) -> tuple[float, float]:
    """Milliseconds, by the clock and of CPU: the median differences, taken within a round."""
    pairs = list(zip(many, one, strict=True))
    seconds = statistics.median(a.seconds - b.seconds for a, b in pairs)
    cpu = statistics.median(a.cpu_seconds - b.cpu_seconds for a, b in pairs)
    return max(0.0, seconds * 1000), max(0.0, cpu * 1000)


_ALONE = """
import asyncio, sys, time
from ledger import Ledger
async def once():
    began = time.perf_counter()
    await Ledger.open("ledger.toml").migrate(sys.argv[1])
    return time.perf_counter() - began
async def main():
    await once()
    print(sorted([await once() for _ in range(int(sys.argv[2]))])[int(sys.argv[2]) // 2])
asyncio.run(main())
"""


def _from_python(audit: Audit, options: Options) -> list[Reading]:
    """The same call again and again in one process, for its median."""
    command = [sys.executable, "-c", _ALONE, TENANT, str(ALONE_ROUNDS)]
    readings = [run_command(command, cwd=audit.folder) for _ in range(options.rounds())]
    return [msgspec.structs.replace(one, seconds=float(one.output)) for one in readings]


def sizes(engine: str, options: Options) -> tuple[int, ...]:
    """How many events, by engine."""
    if options.size == "quick":
        return (5_000,)
    if options.size == "modest":
        return (100_000,)
    return (100_000, 1_000_000, 10_000_000) if engine == "sqlite" else (100_000, 1_000_000)


def run(options: Options) -> Report:
    """Each engine and size."""
    tenants = options.pick(quick=100, modest=10_000, full=10_000)
    tables: list[Table] = []
    targets: list[TargetRow] = []
    for engine in options.engines:
        why = no_server(options) if engine == "mysql" else None
        if why is not None:
            targets.append(unmeasured("audit-mysql", "the audit on a server", "measured", why))
            continue
        for events in sizes(engine, options):
            audit = audit_of(engine, events, tenants, options)
            alone = audit_of(engine, audit.rounds * EVENTS_EACH, 1, options)
            more, rows = measure(audit, alone, options)
            tables += more
            targets += rows
    return Report(script="audit", tables=tuple(tables), targets=tuple(targets))


if __name__ == "__main__":
    main("audit", __doc__, run)
