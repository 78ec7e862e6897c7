"""Which tenants there are: sources that do not answer are named by every command that counts tenants."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, sqlite_rows, sqlite_run

CONFIG = """\
migrations = "migrations/app"
[[tenants]]
sqlite = "data/*.db"
"""
DOWN = """\
[[tenants]]
mysql = "mysql://app@127.0.0.1:1"
databases = "tenant_%"
"""


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """Two tenants and one migration."""
    terminal.write("ledger.toml", CONFIG)
    terminal.write("migrations/app/001_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);\n")
    for name in ("acme", "beta"):
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    return terminal


def test_a_source_that_does_not_answer_is_no_empty_fleet(terminal: Terminal) -> None:
    """Its server is down: unreachable in status, plan and validate, and a fleet of nothing else is not current."""
    terminal.ok("migrate", "--all-tenants")
    terminal.write("ledger.toml", 'migrations = "migrations/app"\n' + DOWN)
    status = terminal.run("status", "--check", "--format", "json")
    assert status.code == 4 and status.json()["summary"] == {"unreachable": 1}
    assert terminal.run("status").code == 3
    row = status.json()["tenants"][0]
    assert row["tenant"].startswith("tenants[1]") and row["engine"] == "mysql"
    assert "127.0.0.1:1" in row["error"] and row["version"] is None
    plan = terminal.run("plan")
    assert plan.code == 4 and "current" not in plan.out and "127.0.0.1:1" in plan.out
    assert "would change 0 of 1 tenant; 1 would be refused" in plan.out
    plan = terminal.run("migrate", "--all-tenants", "--dry-run", "--format", "json")
    assert plan.code == 4 and "127.0.0.1:1" in plan.json()["tenants"][0]["problem"]
    found = terminal.run("validate")
    assert found.code == 3 and "all valid" not in found.out and "127.0.0.1:1" in found.out


@pytest.mark.parametrize(
    "command", ["tenants", "backups", "backups verify", "stats", "export --version-json"]
)
def test_a_list_that_lacks_a_sources_tenants_says_so(terminal: Terminal, command: str) -> None:
    """What is known is printed, the source is named on stderr, and the command ends with 3."""
    terminal.ok("migrate", "--all-tenants")
    terminal.write("ledger.toml", CONFIG + DOWN)
    ended = terminal.run(*command.split())
    assert ended.code == 3 and "acme" in ended.out
    assert "error: tenants[2]" in ended.err and "127.0.0.1:1" in ended.err


def test_a_tenant_of_a_source_that_does_not_answer(terminal: Terminal) -> None:
    """Not "no such tenant" alone: the source that may have it is named."""
    terminal.write("ledger.toml", CONFIG + DOWN)
    ended = terminal.run("migrate", "--tenant", "tenant_1")
    assert ended.code == 2 and "tenants[2]" in ended.err and "127.0.0.1:1" in ended.err


def test_the_ledgers_own_file_is_no_tenant(terminal: Terminal) -> None:
    """A glob that finds it leaves it out; naming it is an error: its restore would take events back."""
    everything = 'url = "sqlite:///data/ledger.db"\n' + CONFIG
    terminal.write("ledger.toml", everything)
    for _ in range(2):
        terminal.ok("migrate", "--all-tenants")
    assert terminal.ok("status", "--format", "json").json()["summary"] == {"current": 2}
    terminal.write("ledger.toml", everything + '[[tenants]]\nsqlite = "data/ledger.db"\n')
    ended = terminal.run("restore", "--all-tenants", "-y")
    assert ended.code == 2 and "tenants[2]" in ended.err and "ledger's own" in ended.err


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE", "PERSIST"])
def test_the_files_beside_a_database_are_no_tenants(terminal: Terminal, mode: str) -> None:
    """SQLite's own: an empty journal would be made a database. A name like theirs alone is a tenant's."""
    terminal.write("ledger.toml", 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*"\n')
    with closing(
        sqlite3.connect(terminal.folder / "data/plain", isolation_level=None)
    ) as application:
        application.execute(f"PRAGMA journal_mode = {mode}")
        application.execute("CREATE TABLE mine (x)")
        assert len(list((terminal.folder / "data").glob("plain-*"))) >= 1
        sqlite_run(terminal.folder / "data/audit-journal", "CREATE TABLE mine (x)")
        named = [row["tenant"] for row in terminal.ok("tenants", "--format", "json").json()]
        assert named == ["acme", "audit-journal", "beta", "plain"]
        terminal.ok("migrate", "--all-tenants")


@pytest.mark.parametrize("kind", ["hard link", "symbolic link", "other path"])
def test_one_file_with_two_names_is_an_error(terminal: Terminal, kind: str) -> None:
    """Claims are by name: two runs could write it at once. Both names and both places are shown."""
    acme, again = terminal.folder / "data/acme.db", terminal.folder / "data/again.db"
    if kind == "hard link":
        again.hardlink_to(acme)
    elif kind == "symbolic link":
        again.symlink_to("acme.db")
    else:
        other = '[[tenants]]\nsqlite = "data/../data/acme.db"\nname = "again"\n'
        terminal.write("ledger.toml", CONFIG + other)
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 2 and "'acme' and 'again' are one database" in ended.err
    assert terminal.ok("runs", "--format", "json").json() == []


def test_a_folder_that_is_not_there_is_no_empty_fleet(terminal: Terminal) -> None:
    """Its disk is not mounted, say: the source is named, and the others go on."""
    terminal.write("ledger.toml", CONFIG + '[[tenants]]\nsqlite = "mnt/*/x.db"\n')
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 3 and "2 migrated, 1 unreachable" in ended.out
    assert "  tenants[2]" in ended.out and str(terminal.folder / "mnt") in ended.out
    (terminal.folder / "mnt").mkdir()
    terminal.ok("status", "--check")


def test_a_deleted_tenant_comes_back_from_its_backup(terminal: Terminal) -> None:
    """Its backups are listed by its name; an empty file in its place is filled by restore."""
    terminal.ok("migrate", "--all-tenants")
    acme = terminal.folder / "data/acme.db"
    acme.unlink()
    (one,) = terminal.ok("backups", "--tenant", "acme", "--format", "json").json()
    assert one["tenant"] == "acme"
    acme.touch()
    terminal.ok("restore", "--tenant", "acme", "-y")
    assert sqlite_rows(acme, "SELECT name FROM sqlite_master WHERE name = 'mine'")
    assert terminal.run("backups", "--tenant", "nobody").code == 2


def test_a_plan_tells_tenants_apart_that_differ_in_what_is_bound(terminal: Terminal) -> None:
    """Two sources with other variables: the same migration, and to each its own statement."""
    sources = "".join(
        f'[[tenants]]\nsqlite = "data/{name}.db"\nvariables = {{ site = "of_{name}" }}\n'
        for name in ("acme", "beta")
    )
    terminal.write("ledger.toml", 'migrations = "migrations/app"\n' + sources)
    terminal.write("migrations/app/001_users.sql", "CREATE TABLE {site} (id INTEGER);\n")
    plan = terminal.ok("plan", "--format", "json").json()
    shown = {one["tenant"]: one["migrations"][0]["steps"][0]["sql"] for one in plan["tenants"]}
    assert {name: "of_" + name in sql for name, sql in shown.items()} == {
        "acme": True,
        "beta": True,
    }
    text = terminal.ok("plan").out
    assert "1 tenant, new: acme" in text and "1 tenant, new: beta" in text


def test_a_plan_tells_tenants_apart_that_stand_elsewhere(terminal: Terminal) -> None:
    """The same is pending for both; where each stands is still said of each."""
    gone = terminal.write("migrations/app/002_gone.sql", "CREATE TABLE gone (id INTEGER);\n")
    terminal.ok("migrate", "--tenant", "acme")
    terminal.ok("migrate", "--tenant", "beta", "--to", "001")
    gone.unlink()
    terminal.write("migrations/app/003_more.sql", "CREATE TABLE more (id INTEGER);\n")
    text = terminal.ok("plan").out
    assert "1 tenant, at 002: acme" in text and "1 tenant, at 001: beta" in text
