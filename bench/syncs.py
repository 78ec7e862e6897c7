"""Syncs: how many times a tenant's migration waits for the disk, counted by strace.

    python -m bench.syncs

Ours and the raw loop, file by file: the ledger, the tenants, the rest. For
MariaDB a server is started under strace for this alone, since its syncs are the
server's; ours adds the ledger's.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.children import ROOT, environment, run_command
from bench.fleet import Fleet, MysqlFleet, fleet_of, work_folder
from bench.known_peers import orders_for
from bench.options import Options
from bench.ours import CONNECTIONS, PYTHON, Product
from bench.report import Report, Table, main
from bench.traced_server import NoServerError, TracedServer

CALLS = "fsync,fdatasync,sync_file_range,msync,syncfs,sync"
_CALL = re.compile(
    r"(?P<call>fsync|fdatasync|sync_file_range|msync|syncfs|sync)\((?:\d+<(?P<path>[^>]*)>)?"
)
INSTALL = "strace is not installed: apt-get install strace"


def traced(command: list[str], log: Path) -> list[str]:
    """The command under strace, its syncs in `log` with the files' names."""
    strace = shutil.which("strace")
    assert strace is not None
    return [strace, "-f", "-y", "-qq", "-e", f"trace={CALLS}", "-o", str(log), *command]


def count(log: Path) -> Counter[str]:
    """Syncs by what they were for."""
    kinds: Counter[str] = Counter()
    for match in _CALL.finditer(log.read_text(errors="replace")):
        kinds[_kind(match["path"] or "")] += 1
    return kinds


def _kind(path: str) -> str:
    name = Path(path).name
    if name.startswith("ledger.db"):
        return "ledger"
    if "/backups" in path:
        return "backups"
    if "/tenants" in path or re.match(r"t\d{5}\.db", name):
        return "tenants"
    return "other"


def ours(product: Product, log: Path, *, backup: bool = False) -> Counter[str]:
    """The whole command."""
    wanted = [] if backup else ["--no-backup"]
    command = [*PYTHON, "-q", "migrate", "--all-tenants", *wanted]
    run_command(traced(command, log), cwd=product.folder)
    return count(log)


def raw(fleet: Fleet, folder: Path, log: Path) -> Counter[str]:
    """The raw loop's child, spoken to by hand since strace stands in front of it."""
    server = fleet.server if isinstance(fleet, MysqlFleet) else None
    orders = orders_for(fleet.engine, fleet.targets, folder, server) | {
        "threads": 1 if server is None else CONNECTIONS
    }
    subprocess.run(
        traced([sys.executable, "-m", "bench.raw"], log),
        input=f"{json.dumps(orders)}\ngo\n",
        text=True,
        env=environment({}),
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return count(log)


KINDS = ("tenants", "ledger", "backups", "server", "other")


def row(name: str, kinds: Counter[str], tenants: int) -> tuple[str, ...]:
    """Per tenant, kind by kind, then the sum."""
    each = [f"{kinds[kind] / tenants:.2f}" for kind in KINDS]
    return (name, *each, f"{kinds.total() / tenants:.2f}")


def sqlite_rows(options: Options) -> list[tuple[str, ...]]:
    """P."""
    tenants = options.pick(quick=5, modest=50, full=200)
    rows = []
    with work_folder(options) as folder, fleet_of("sqlite", tenants, folder, options) as fleet:
        product = Product.over(folder / "ours", fleet)
        for backup in (False, True):
            fleet.fresh(tenants)
            product.forget()
            name = "P, ledger migrate" + (", backups on" if backup else "")
            log = folder / "trace.log"
            rows.append(row(name, ours(product, log, backup=backup), tenants))
            fleet.check(tenants)
        fleet.fresh(tenants)
        rows.append(row("P, raw", raw(fleet, folder, folder / "trace.log"), tenants))
        fleet.check(tenants)
    return rows


def mysql_rows(options: Options) -> list[tuple[str, ...]]:
    """W, on a server of its own under strace. Raises NoServerError."""
    tenants = options.pick(quick=2, modest=10, full=50)
    rows = []
    with work_folder(options) as folder, TracedServer(folder, CALLS) as server:
        fleet = MysqlFleet(server.server, tenants)
        product = Product.over(folder / "ours", fleet)
        sides: dict[str, Callable[[], Counter[str]]] = {
            "W, ledger migrate": lambda: ours(product, folder / "trace.log"),
            "W, raw": lambda: raw(fleet, folder, folder / "trace.log"),
        }
        for name, side in sides.items():
            fleet.fresh(tenants)
            before = server.syncs()
            kinds = side()
            kinds["server"] = server.syncs() - before
            fleet.check(tenants)
            rows.append(row(name, kinds, tenants))
    return rows


def run(options: Options) -> Report:
    """Both engines."""
    rows: list[tuple[str, ...]] = []
    notes = ["the ledger's syncs are shared by the tenants whose events were committed together"]
    if shutil.which("strace") is None:
        return Report(script="syncs", tables=(Table(title=INSTALL, columns=("side",), rows=()),))
    if "sqlite" in options.engines:
        rows += sqlite_rows(options)
    if "mysql" in options.engines:
        try:
            rows += mysql_rows(options)
        except NoServerError as error:
            notes.append(f"W was not measured: {error}")
    table = Table(
        title="Syncs per tenant",
        columns=("side", *KINDS, "all"),
        rows=tuple(rows),
        notes=tuple(notes),
    )
    return Report(script="syncs", tables=(table,))


if __name__ == "__main__":
    main("syncs", __doc__, run)
