"""Every bench script runs to its end on tiny fleets and fills its tables; no figure is judged here.

The scripts start the product as processes of their own; they themselves run in
this process, which saves half the time.
"""

from __future__ import annotations

import datetime
import fcntl
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.machine import look
from bench.options import ENGINES, Options
from bench.report import Report, TargetRow
from bench.results import results
from tests.conftest import run_folder
from tests.servers import Server, query

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench_server(mariadb: Server) -> Iterator[Server]:
    """The server for one test at a time: one of them looks at its databases before and after."""
    with (run_folder() / "bench.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield mariadb


def measured(script: str, server: Server | None = None, **options: Any) -> Report:
    """The script's report, once around and without peers."""
    if server is not None:
        options["server"] = server_url(server)
    module = importlib.import_module(f"bench.{script}")
    made: Report = module.run(Options(size="quick", n=1, peers=False, **options))
    return made


def server_url(server: Server) -> str:
    """The server as `--server` wants it."""
    url = server.url
    password = f":{server.password}" if server.password else ""
    socket = f"?unix_socket={url.unix_socket}" if url.unix_socket else ""
    return f"mysql://{url.user}{password}@{url.host}:{url.port}{socket}"


def keys(report: Report) -> set[str]:
    """The rows of the target table that a report fills."""
    return {row.key for row in report.targets}


def command(*arguments: str) -> str:
    """What `python -m ARGUMENTS` prints."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_list_names_every_script() -> None:
    """`python -m bench --list` names what can be run, and each of them is a module."""
    listed = command("bench", "--list")
    for script in ("migrate", "noop", "plan", "ledger", "split", "memory", "startup", "scale"):
        assert script in listed
        assert (ROOT / "bench" / f"{script}.py").exists()


def test_a_script_prints_its_table_and_the_same_as_json() -> None:
    """Both forms hold the script's rows; the machine is named."""
    small = ("bench.split", "--quick", "--n", "1", "--engine", "sqlite")
    assert "Splitting" in command(*small)
    found = json.loads(command(*small, "--json"))
    assert found["targets"][0]["key"] == "split-sqlite"
    assert found["machine"]["cores"] >= 1


def test_sqlite_migration_fills_its_rows() -> None:
    """Ours and every raw side migrate a fleet, backups on and off, and with a slower disk."""
    report = measured("migrate", engines=("sqlite",), tenants=3)
    assert keys(report) == {"p-raw", "p-peer", "p-cores", "p-backup", "p-delay"}
    assert all(row.value is not None for row in report.targets if row.key != "p-peer")


def test_mariadb_migration_fills_its_row_and_leaves_nothing(bench_server: Server) -> None:
    """The same on MariaDB; the databases it made are dropped."""
    before = set(query(bench_server, "SHOW DATABASES LIKE 'bench%'"))
    report = measured("migrate", bench_server, engines=("mysql",), tenants=2)
    assert keys(report) == {"w-raw"}
    assert report.tables[0].rows[0][0] == "ledger migrate"
    assert set(query(bench_server, "SHOW DATABASES LIKE 'bench%'")) <= before


def test_nothing_to_do_notices_a_tenant_that_was_put_back() -> None:
    """The bench holds the promise that makes skipping safe: a restored tenant is seen, in WAL mode too."""
    report = measured("noop", engines=("sqlite",), tenants=3)
    noticed = next(row for row in report.targets if row.key == "noop-notices")
    assert noticed.met, noticed.measured


def test_nothing_to_do_asks_each_server_once(bench_server: Server) -> None:
    """More tenants on a server do not mean more commands on the wire."""
    report = measured("noop", bench_server, engines=("mysql",), tenants=4)
    assert report.targets[0].value == 0


@pytest.mark.parametrize(
    ("script", "rows"),
    [
        ("plan", {"plan"}),
        ("markers", {"marker-sqlite"}),
        ("memory", {"memory"}),
        ("startup", {"startup-version", "startup-status"}),
        ("scale", set[str]()),
    ],
)
def test_a_script_fills_its_rows(script: str, rows: set[str]) -> None:
    """Each fills a table and the rows of the target table that are its own."""
    engines = ("sqlite",) if script == "markers" else ENGINES
    report = measured(script, tenants=3, engines=engines)
    assert report.tables[0].rows
    assert keys(report) == rows


def test_the_ledger_bench_measures_append_and_replay(bench_server: Server) -> None:
    """On SQLite and on MariaDB."""
    report = measured("ledger", bench_server, tenants=2)
    rows = (
        "append-{}-1",
        "append-{}-8",
        "append-{}-64",
        "append-{}-256",
        "replay-{}",
        "verify-{}",
        "bytes-{}",
    )
    assert keys(report) == {row.format(engine) for row in rows for engine in ("sqlite", "mysql")}


def test_the_profile_names_our_functions() -> None:
    """It says whose time it is, and which functions are dear."""
    report = measured("profile", engines=("sqlite",), tenants=3)
    dear = next(table for table in report.tables if "dearest functions" in table.title)
    assert any(row[0].startswith("ledger/") for row in dear.rows)


def test_results_name_missed_targets_first() -> None:
    """RESULTS.md says that a small run is one, and what is missed before what is met."""
    missed = TargetRow(key="x", what="the missed", target="≤ 1", measured="2", met=False)
    met = TargetRow(key="y", what="the met", target="≤ 1", measured="0.5", met=True)
    options = Options(size="quick", command="python -m bench")
    text = results(
        [Report(script="s", tables=(), targets=(met, missed))],
        look(options),
        options,
        now=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    )
    assert "A quick run" in text
    assert text.index("the missed") < text.index("the met")
