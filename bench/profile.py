"""Profile: where a tenant's microseconds go, ours, the driver's, the database's, the disk's.

    python -m bench.profile [--engine sqlite] [--tenants N]

Everything is the difference between a fleet of N and one of a fifth of it, divided by
the tenants between them, so that start-up is not in it. A SQLite fleet is migrated with
worker processes, as many as cores: what the run does and what they do is told apart. The
profiler makes Python slower and C not: shares are facts, sums are not. Then the parts of
an append to the ledger and of its replay, each timed by itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bench import shim
from bench.children import ROOT, Reading, run_children
from bench.fleet import Fleet, MysqlFleet, fleet_of, no_server, work_folder
from bench.known_peers import orders_for
from bench.ledger import loop_run
from bench.machine import cores
from bench.options import Options
from bench.ours import CONNECTIONS, Product
from bench.parts import append_parts, replay_parts
from bench.proxy import CountingProxy
from bench.report import Report, Table, main
from bench.server_parts import server_append_parts

TOP = 40
HOOK = ROOT / "bench" / "profiling"
PARTS = {
    "sqlite": (append_parts, partial(replay_parts, "sqlite")),
    "mysql": (server_append_parts, partial(replay_parts, "mysql")),
}
ROLES = {"run": "the run", "worker": "its workers, added up"}
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
    if Path(file).is_relative_to(ROOT / "ledger"):
        parts = Path(file).relative_to(ROOT / "ledger").parts
        return f"ours: {parts[0].removesuffix('.py')}"
    found = re.search(r"/(aiosqlite|aiomysql|pymysql|anyio|asyncio|uvloop)/", file)
    if found:
        driver = found[1] in ("aiosqlite", "aiomysql", "pymysql")
        return f"{'driver' if driver else 'event loop'}: {found[1]}"
    if Path(file).name in ("threading.py", "queue.py"):
        return "driver: threads and queues"
    return "the rest of Python"


def told(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each process of the last command has left, with its role (profiling/sitecustomize.py)."""
    for left in sorted(folder.glob("*.json")):
        yield left.name.split("-")[0], json.loads(left.read_text())


def watched(folder: Path, *, profiler: bool = False) -> dict[str, str]:
    """The environment in which processes say what they used, in an empty `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = os.pathsep.join([str(HOOK), str(ROOT)])
    return {"PYTHONPATH": path, "BENCH_PROFILE": str(folder)} | (
        {"BENCH_PROFILER": "1"} if profiler else {}
    )


def profile(product: Product, fleet: Fleet, count: int) -> dict[str, dict[Place, Cost]]:
    """One run under the profiler, backups off: by role, by function."""
    fleet.fresh(count)
    product.forget()
    folder = product.folder / "profiles"
    product.migrate(extra=watched(folder, profiler=True))
    fleet.check(count)
    costs: dict[str, dict[Place, Cost]] = defaultdict(lambda: defaultdict(Cost))
    for role, said in told(folder):
        for file, line, name, calls, seconds in said["functions"]:
            cost = costs[role][(file, line, re.sub(r" at 0x[0-9a-f]+", "", name))]
            cost.calls += calls
            cost.seconds += seconds
    return costs


def per_tenant(few: dict[Place, Cost], many: dict[Place, Cost], added: int) -> dict[Place, Cost]:
    """The difference, for one tenant more."""
    return {
        place: Cost(
            calls=(cost.calls - few.get(place, Cost()).calls) / added,
            seconds=(cost.seconds - few.get(place, Cost()).seconds) / added,
        )
        for place, cost in many.items()
    }


def walls(
    product: Product, fleet: Fleet, folder: Path, few: int, many: int
) -> list[tuple[str, str]]:
    """Unprofiled: wall clock, CPU by process and time in syncs, for one tenant more, and the raw loop's parts."""
    seen: list[dict[str, float]] = []
    log = folder / "syncs.log"
    try:
        traced = shim.environment(folder, log=log)
    except shim.NoCompilerError:
        traced = {}
    for count in (few, many):
        fleet.fresh(count)
        product.forget()
        log.unlink(missing_ok=True)
        profiles = product.folder / "profiles"
        reading = product.migrate(extra=traced | watched(profiles))
        calls, took = shim.read_log(log)
        one = {"wall": reading.seconds, "cpu": reading.cpu_seconds, "calls": calls, "took": took}
        for role, said in told(profiles):
            one[role] = one.get(role, 0.0) + said["cpu_seconds"]
        seen.append(one)
    added = many - few
    each = {name: (seen[1][name] - seen[0].get(name, 0.0)) / added for name in seen[1]}
    rows = [
        (f"ours, the command on {few} tenants", f"{seen[0]['wall'] * 1000:.0f} ms"),
        ("ours, wall clock", f"{each['wall'] * 1e6:.0f} us"),
        ("ours, CPU on all cores", f"{each['cpu'] * 1e6:.0f} us"),
    ]
    if "worker" in each:
        rows += [
            ("of it in the run's process", f"{each['run'] * 1e6:.0f} us"),
            ("of it in the workers", f"{each['worker'] * 1e6:.0f} us"),
        ]
    if traced:
        rows.append(
            (
                "in syncs, added up over threads and processes",
                f"{each['took'] * 1e6:.0f} us in {each['calls']:.2f} syncs",
            )
        )
    targets = fleet.fresh(many)
    server = fleet.server if isinstance(fleet, MysqlFleet) else None
    orders = orders_for(fleet.engine, targets, folder, server)
    if server is not None:
        raw = run_children("bench.raw", orders | {"threads": CONNECTIONS})
        return [*rows, *_raw_rows(raw, many)]
    times = folder / "times.txt"
    raw = run_children("bench.raw", orders | {"times": str(times)})
    parts = [float(part) / many * 1e6 for part in times.read_text().split()]
    named = zip(("connect", "statements", "commit", "close"), parts, strict=True)
    split = ", ".join(f"{name} {value:.0f}" for name, value in named)
    return [*rows, *_raw_rows(raw, many), ("raw, its parts (wall clock, us)", split)]


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


def tables_of(engine: str, role: str, costs: dict[Place, Cost]) -> list[Table]:
    """Groups, functions."""
    groups: dict[str, float] = defaultdict(float)
    for place, cost in costs.items():
        groups[group_of(place)] += cost.seconds
    total = sum(groups.values()) or 1.0
    ranked = sorted(groups.items(), key=lambda item: -item[1])
    functions = sorted(costs.items(), key=lambda item: -item[1].seconds)[:TOP]
    whose = f"{engine}, {ROLES[role]}"
    return [
        Table(
            title=f"CPU of one tenant more under the profiler, {whose}",
            columns=("whose", "us", "share"),
            rows=tuple(
                (name, f"{seconds * 1e6:.0f}", f"{seconds / total:.1%}")
                for name, seconds in ranked
                if seconds * 1e6 >= 0.5
            ),
        ),
        Table(
            title=f"The {TOP} dearest functions by own CPU, {whose}",
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
            if engine == "sqlite":
                # As `auto` has it from a hundred tenants on, whatever the sizes here.
                product.write(f"workers = {cores()}\n{fleet.config()}")
            few = max(1, count // 5)
            rows = walls(product, fleet, folder, few, count)
            tables.append(
                Table(
                    title=f"One tenant more, {engine}", columns=("what", "time"), rows=tuple(rows)
                )
            )
            small, large = (profile(product, fleet, size) for size in (few, count))
            for role in sorted(large):
                costs = per_tenant(small.get(role, {}), large[role], count - few)
                tables += tables_of(engine, role, costs)
            if isinstance(fleet, MysqlFleet):
                tables.append(wire(product, fleet, count))
        with work_folder(options) as folder:
            for parts in PARTS[engine]:
                loop_run(partial(parts, folder, options, tables))
    return Report(script="profile", tables=tuple(tables))


if __name__ == "__main__":
    main("profile", __doc__, run)
