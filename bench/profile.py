"""Profile: where a tenant's microseconds go, ours, the driver's, the database's, the disk's.

    python -m bench.profile [--engine sqlite] [--tenants N]

Everything is the difference between a fleet of N and a fleet of one, divided by
N - 1, so that start-up is not in it. The profiler makes Python slower and C not:
shares are facts, sums are not.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import msgspec

from bench import shim
from bench.children import ROOT, Reading, run_children, run_command
from bench.fleet import Fleet, MysqlFleet, fleet_of, no_server, work_folder
from bench.known_peers import orders_for
from bench.options import Options
from bench.ours import CONNECTIONS, Product
from bench.proxy import CountingProxy
from bench.report import Report, Table, main

TOP = 40
_TWO_WORDS = re.compile(r"\(?\w+(?:\s+\w+)?")
Place = tuple[str, int, str]


class Cost(msgspec.Struct):
    """Calls and own CPU seconds."""

    calls: float = 0.0
    seconds: float = 0.0


def group_of(place: Place) -> str:
    """Whose time it is."""
    file, _, name = place
    if not file:
        if "sqlite3" in name:
            return "database (sqlite3, in C)"
        if "msgspec" in name or "_hashlib" in name or "sha256" in name:
            return "encoding and hashing (in C)"
        return "Python's own built-ins"
    if "/ledger/" in file and file.startswith(str(ROOT)):
        parts = Path(file).relative_to(ROOT / "ledger").parts
        return f"ours: {parts[0].removesuffix('.py')}"
    found = re.search(r"/(aiosqlite|aiomysql|pymysql|anyio|asyncio|uvloop)/", file)
    if found:
        driver = found[1] in ("aiosqlite", "aiomysql", "pymysql")
        return f"{'driver' if driver else 'event loop'}: {found[1]}"
    if Path(file).name in ("threading.py", "queue.py"):
        return "driver: threads and queues"
    return "the rest of Python"


def profile(product: Product, fleet: Fleet, count: int) -> dict[Place, Cost]:
    """One run under the profiler, backups off."""
    fleet.fresh(count)
    product.forget()
    out = product.folder / "profile.json"
    command = [sys.executable, "-m", "bench.profiled", str(out)]
    run_command([*command, "-q", "migrate", "--all-tenants", "--no-backup"], cwd=product.folder)
    fleet.check(count)
    costs: dict[Place, Cost] = defaultdict(Cost)
    for file, line, name, calls, seconds in json.loads(out.read_text()):
        cost = costs[(file, line, re.sub(r" at 0x[0-9a-f]+", "", name))]
        cost.calls += calls
        cost.seconds += seconds
    return costs


def per_tenant(one: dict[Place, Cost], many: dict[Place, Cost], added: int) -> dict[Place, Cost]:
    """The difference, for one tenant more."""
    return {
        place: Cost(
            calls=(cost.calls - one.get(place, Cost()).calls) / added,
            seconds=(cost.seconds - one.get(place, Cost()).seconds) / added,
        )
        for place, cost in many.items()
    }


def walls(product: Product, fleet: Fleet, folder: Path, count: int) -> list[tuple[str, str]]:
    """Unprofiled: wall clock and time in syncs, for one tenant more, and the raw loop's parts."""
    seen = []
    log = folder / "syncs.log"
    try:
        extra = shim.environment(folder, log=log)
    except shim.NoCompilerError:
        extra = {}
    for size in (1, count):
        fleet.fresh(size)
        product.forget()
        log.unlink(missing_ok=True)
        reading = product.migrate(extra=extra)
        seen.append((reading, *shim.read_log(log)))
    (few, few_calls, few_time), (much, calls, took) = seen
    added = count - 1
    wall, cpu = much.seconds - few.seconds, much.cpu_seconds - few.cpu_seconds
    rows = [
        ("ours, the command on one tenant", f"{few.seconds * 1000:.0f} ms"),
        ("ours, wall clock", f"{wall / added * 1e6:.0f} us"),
        ("ours, CPU on all cores", f"{cpu / added * 1e6:.0f} us"),
    ]
    if extra:
        rows.append(
            (
                "of it in this process's syncs, added up over threads",
                f"{(took - few_time) / added * 1e6:.0f} us in {(calls - few_calls) / added:.2f} syncs",
            )
        )
    targets = fleet.fresh(count)
    server = fleet.server if isinstance(fleet, MysqlFleet) else None
    orders = orders_for(fleet.engine, targets, folder, server)
    if server is not None:
        raw = run_children("bench.raw", orders | {"threads": CONNECTIONS})
        return [*rows, *_raw_rows(raw, count)]
    times = folder / "times.txt"
    raw = run_children("bench.raw", orders | {"times": str(times)})
    parts = [float(part) / count * 1e6 for part in times.read_text().split()]
    named = zip(("connect", "statements", "commit", "close"), parts, strict=True)
    split = ", ".join(f"{name} {value:.0f}" for name, value in named)
    return [*rows, *_raw_rows(raw, count), ("raw, its parts (wall clock, us)", split)]


def _raw_rows(raw: Reading, count: int) -> list[tuple[str, str]]:
    return [
        ("raw, wall clock", f"{raw.seconds / count * 1e6:.0f} us"),
        ("raw, CPU", f"{raw.cpu_seconds / count * 1e6:.0f} us"),
    ]


def wire(product: Product, fleet: MysqlFleet, count: int) -> Table:
    """The commands that one tenant more sends to the server, by their first two words.

    The raw side sends its statements, two for the marker, and one USE.
    """
    seen: list[Counter[str]] = []
    with CountingProxy(fleet.server.url) as proxy:
        address = msgspec.structs.replace(
            fleet.server.url, host="127.0.0.1", port=proxy.port, unix_socket=None
        )
        product.write(fleet.config(address))
        for size in (1, count):
            fleet.fresh(size)
            product.forget()
            proxy.forget()
            product.migrate()
            words = [_TWO_WORDS.match(one.strip()) for one in proxy.commands()]
            seen.append(Counter(found[0] if found else "another" for found in words))
    product.write(fleet.config())
    one, many = seen
    added = {text: (number - one[text]) / (count - 1) for text, number in many.items()}
    rows = sorted(added.items(), key=lambda item: -item[1])
    raw = len(fleet.workload.statements) + 3
    return Table(
        title="Commands on the wire for one tenant more",
        columns=("command", "number"),
        rows=(
            ("all", f"{sum(added.values()):.1f}"),
            ("raw's", str(raw)),
            *((text, f"{number:.1f}") for text, number in rows if number >= 0.1),
        ),
    )


def tables_of(engine: str, costs: dict[Place, Cost], rows: list[tuple[str, str]]) -> list[Table]:
    """Wall clock, groups, functions."""
    groups: dict[str, float] = defaultdict(float)
    for place, cost in costs.items():
        groups[group_of(place)] += cost.seconds
    total = sum(groups.values()) or 1.0
    ranked = sorted(groups.items(), key=lambda item: -item[1])
    functions = sorted(costs.items(), key=lambda item: -item[1].seconds)[:TOP]
    return [
        Table(title=f"One tenant more, {engine}", columns=("what", "time"), rows=tuple(rows)),
        Table(
            title=f"CPU of one tenant more under the profiler, {engine}",
            columns=("whose", "us", "share"),
            rows=tuple(
                (name, f"{seconds * 1e6:.0f}", f"{seconds / total:.1%}")
                for name, seconds in ranked
                if seconds * 1e6 >= 0.5
            ),
        ),
        Table(
            title=f"The {TOP} dearest functions by own CPU, {engine}",
            columns=("function", "us", "calls"),
            rows=tuple(
                (_shown(place), f"{cost.seconds * 1e6:.1f}", f"{cost.calls:.1f}")
                for place, cost in functions
            ),
        ),
    ]


def _shown(place: Place) -> str:
    file, line, name = place
    if not file:
        return name
    path = Path(file)
    if path.is_relative_to(ROOT):
        return f"{path.relative_to(ROOT)}:{line} {name}"
    return f"{path.parent.name}/{path.name}:{line} {name}"


def run(options: Options) -> Report:
    """Each engine in turn."""
    tables: list[Table] = []
    for engine in options.engines:
        why = no_server(options) if engine == "mysql" else None
        if why is not None:
            tables.append(Table(title=f"{engine}: {why}", columns=("what",), rows=()))
            continue
        count = options.pick(quick=8, modest=200, full=500)
        if engine == "mysql" and options.tenants is None:
            count = max(4, count // 8)
        with work_folder(options) as folder, fleet_of(engine, count, folder, options) as fleet:
            product = Product.over(folder / "ours", fleet)
            rows = walls(product, fleet, folder, count)
            # The profiler sees one process; the wall clock above is that of as many as `auto` takes.
            product.write(f"workers = 0\n{fleet.config()}")
            one, many = (profile(product, fleet, size) for size in (1, count))
            tables += tables_of(engine, per_tenant(one, many, count - 1), rows)
            if isinstance(fleet, MysqlFleet):
                tables.append(wire(product, fleet, count))
    return Report(script="profile", tables=tuple(tables))


if __name__ == "__main__":
    main("profile", __doc__, run)
