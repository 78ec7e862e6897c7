"""`ledger stats` and `plan --estimate`: figures from what runs recorded."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from ledger import Ledger
from tests.cli.terminal import Terminal, sqlite_run
from tests.cli.test_cli_mysql import address
from tests.servers import Server, query

MakeDatabase = Callable[..., str]

FIRST = "-- step: Create users\nCREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(40));\n"
SECOND = """\
-- step: Create pages
CREATE TABLE pages (id INT PRIMARY KEY, body VARCHAR(8000));
-- step: Fill pages
INSERT INTO pages (id, body) SELECT id, name FROM users;
"""


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """Three SQLite tenants, two migrations of which the first is applied."""
    terminal.write("migrations/app/001_users.sql", FIRST)
    terminal.write("migrations/app/002_pages.sql", SECOND)
    terminal.write(
        "ledger.toml", 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n'
    )
    for name in ("acme", "beta", "gamma"):
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    terminal.ok("migrate", "--all-tenants", "--to", "001")
    return terminal


def test_sizes_growth_and_slow_steps(terminal: Terminal) -> None:
    """Every tenant's size is its file's, growth is after less before, steps have median, p95 and max."""
    path = terminal.folder / "data/acme.db"
    sqlite_run(
        path,
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        " INSERT INTO users SELECT i, printf('%030d', i) FROM n",
    )
    before = path.stat().st_size
    terminal.ok("migrate", "--tenant", "acme", "--to", "002")
    after = path.stat().st_size
    made = terminal.ok("stats", "--format", "json").json()
    sizes = {one["tenant"]: one for one in made["sizes"]}
    assert made["sizes"][0]["tenant"] == "acme" and sizes["acme"]["bytes"] == after
    assert made["total_bytes"] == sum(one["bytes"] for one in sizes.values())
    growth = {one["migration"]: one for one in made["growth"]}
    assert growth["app/001"]["tenants"] == 3
    assert growth["app/002"]["total_bytes"] == after - before > 50_000
    assert growth["app/002"]["largest"] == growth["app/002"]["slowest"] == "acme"
    (completed,) = terminal.ok(
        "history", "--migration", "002", "--type", "completed", "--format", "jsonl"
    ).lines()
    assert completed["body"]["bytes_before"] == before
    assert completed["body"]["mark"]["bytes"] == after
    steps = {(one["migration"], one["step"]): one for one in made["steps"]}
    assert steps["app/001", 1]["tenants"] == 3 and steps["app/002", 2]["name"] == "Fill pages"
    for one in steps.values():
        assert 0 <= one["median_us"] <= one["p95_us"] <= one["max_us"]
    order = [one["median_us"] for one in made["steps"]]
    assert order == sorted(order, reverse=True)


def test_every_form(terminal: Terminal) -> None:
    """A table of all three, one part by --by, and rows for programs."""
    told = terminal.ok("stats").out
    assert "3 tenants, " in told and "KiB" in told and "Create users" in told
    assert terminal.ok("stats", "--by", "step").out.startswith("Migration  Direction")
    rows = list(csv.DictReader(io.StringIO(terminal.ok("stats", "--format", "csv").out)))
    assert [row["tenant"] for row in rows] == ["acme", "beta", "gamma"]
    lines = terminal.ok("stats", "--by", "migration", "--format", "jsonl").lines()
    assert [line["migration"] for line in lines] == ["app/001"]
    few = terminal.ok("stats", "--tenant", "acme", "--migration", "002", "--format", "json").json()
    assert few["tenants"] == 1 and few["growth"] == few["steps"] == []


def test_an_estimate_says_where_it_is_from(terminal: Terminal) -> None:
    """No figure, then version.json's, said to be that, then what other tenants took, with a range."""
    told = terminal.ok("plan", "--estimate").out
    assert "no figure" in told and "Estimate: no figure" in told
    terminal.write(
        "migrations/app/version.json",
        '{"migrations": [{"version": "002", "file": "002_pages.sql", "estimated_time_seconds": 30}]}',
    )
    told = terminal.ok("plan", "--estimate", "--parallel", "2").out
    assert "version.json says about 30.00 s" in told
    assert "Estimate: about 45.00 s (45.00 s) for 3 tenants, 2 at once." in told
    terminal.ok("migrate", "--tenant", "acme")
    made = terminal.ok("plan", "--estimate", "--format", "json").json()
    pending = [one for one in made["tenants"] if one["migrations"]]
    assert len(pending) == 2
    for tenant in pending:
        (one,) = tenant["estimates"]
        assert one["migration"] == "app/002" and one["source"] == "measured"
        assert one["samples"] == 1
        assert 0 < one["low_seconds"] <= one["seconds"] <= one["high_seconds"] < 30
    assert made["estimate"]["tenants"] == 2 and made["estimate"]["unknown"] == 0
    assert "from 1 earlier run" in terminal.ok("plan", "--estimate").out
    assert "Estimate" not in terminal.ok("plan").out


def test_from_python(terminal: Terminal) -> None:
    """The same values, as structs."""
    ledger = Ledger.open(terminal.folder / "ledger.toml")
    stats = anyio.run(partial(ledger.stats, "acme", steps=1))
    plan = anyio.run(partial(ledger.plan, "acme", estimate=True, parallel=3))
    assert [one.tenant for one in stats.sizes] == ["acme"] and len(stats.steps) == 1
    assert plan.estimate is not None and plan.estimate.parallel == 3


def test_on_a_server(terminal: Terminal, sql_server: Server, make_database: MakeDatabase) -> None:
    """Sizes, growth and an estimate of databases on MariaDB or MySQL, by the server's own account."""
    names = sorted(make_database(sql_server) for _ in range(2))
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    terminal.write(
        "ledger.toml",
        'url = "sqlite:///server.db"\nmigrations = "migrations/app"\n'
        f'[[tenants]]\n{named}mysql = "{address(sql_server)}"\ndatabases = {names!r}\n',
    )
    env = {"TEST_PASSWORD": sql_server.password}
    terminal.ok("migrate", "--all-tenants", "--to", "001", env=env)
    values = ", ".join(f"({number}, 'x')" for number in range(100))
    query(sql_server, f"INSERT INTO users VALUES {values}", database=names[0])
    terminal.ok("migrate", "--tenant", names[0], env=env)
    made = terminal.ok("stats", "--format", "json", env=env).json()
    assert all(one["bytes"] > 0 for one in made["sizes"])
    growth = {one["migration"]: one for one in made["growth"]}
    assert growth["app/001"]["tenants"] == 2 and growth["app/001"]["median_bytes"] > 0
    assert growth["app/002"]["median_bytes"] > 0
    plan = terminal.ok("plan", "--estimate", "--format", "json", env=env).json()
    (pending,) = [one for one in plan["tenants"] if one["migrations"]]
    assert pending["estimates"][0]["source"] == "measured"
    assert plan["estimate"]["seconds"] > 0
