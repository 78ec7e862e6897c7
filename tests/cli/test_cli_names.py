"""What a source finds and cannot be a tenant is set aside by name, and stops nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, sqlite_run
from tests.cli.test_cli_mysql import address
from tests.conftest import MakeDatabase
from tests.servers import Server, query

CONFIG = 'migrations = "migrations/app"\n[[tenants]]\n'
BAD_FILES = ["copy [1].db", "-x.db", ".hidden.db", "a*b.db", "tab\tin.db", "x" * 130 + ".db"]


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """Two tenants' files and one migration."""
    terminal.write("migrations/app/001_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);\n")
    for name in ("acme", "beta"):
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    return terminal


def test_a_file_with_a_name_that_is_none_is_set_aside(terminal: Terminal) -> None:
    """By every command, with the file's name and what to do; the others are migrated."""
    terminal.write("ledger.toml", CONFIG + 'sqlite = "data/*.db"\n')
    for name in BAD_FILES:
        (terminal.folder / "data" / name).touch()
    found = [name for name in BAD_FILES if not name.startswith(".")]
    ended = terminal.run("migrate", "--all-tenants", "--format", "json")
    assert ended.code == 3, ended
    report = ended.json()
    assert report["summary"] == {"migrated": 2, "failed": len(found)}
    text = terminal.run("migrate", "--all-tenants").out
    for name in found:
        assert repr(name) in text and "cannot be a tenant's name" in text
    status = terminal.run("status", "--format", "json").json()
    assert status["summary"] == {"current": 2, "failed": len(found)}
    for command in (
        ("plan", "--all-tenants"),
        ("validate",),
        ("doctor",),
        ("rehearse", "--all-tenants"),
    ):
        ended = terminal.run(*command)
        assert ended.code in (3, 4) and "copy [1]" in ended.out + ended.err, ended
    assert "copy [1]" in terminal.run("tenants").err
    assert all((terminal.folder / "data" / name).stat().st_size == 0 for name in BAD_FILES)


def test_a_tenant_that_is_named_is_none_of_those(terminal: Terminal) -> None:
    """`--tenant acme` asks for no other: exit 0; what is set aside cannot be named."""
    terminal.write("ledger.toml", CONFIG + 'sqlite = "data/*.db"\n')
    (terminal.folder / "data/-x.db").touch()
    terminal.ok("migrate", "--tenant", "acme")
    terminal.ok("validate", "--tenant", "acme")
    ended = terminal.run("migrate", "--tenant", "x")
    assert ended.code == 2 and "'-x.db'" in ended.err


def test_tenants_that_disappear_are_seen_beside_one_that_is_set_aside(terminal: Terminal) -> None:
    """The source has answered: who is not named any more is gone."""
    terminal.write("ledger.toml", CONFIG + 'sqlite = "data/*.db"\n')
    (terminal.folder / "data/-x.db").touch()
    terminal.run("migrate", "--all-tenants")
    (terminal.folder / "data/beta.db").unlink()
    assert terminal.run("status", "--format", "json").json()["gone"] == ["beta"]


def test_a_name_that_the_configuration_itself_says_is_its_mistake(terminal: Terminal) -> None:
    """A path without wildcards, or a pattern for names that fits none: exit 2, nothing is touched."""
    for source in ('sqlite = "data/-x.db"', 'sqlite = "data/*.db"\nname = "-{name}"'):
        terminal.write("ledger.toml", CONFIG + source + "\n")
        ended = terminal.run("migrate", "--all-tenants")
        assert ended.code == 2 and "cannot be a tenant's name" in ended.err, ended


def test_a_row_that_is_no_tenant_is_set_aside(terminal: Terminal) -> None:
    """A control plane's row with a bad name, a bad address or none: named by its number."""
    terminal.write(
        "ledger.toml",
        CONFIG
        + 'query = "SELECT name, url FROM tenants ORDER BY rowid"\nurl = "sqlite:///control.db"\n',
    )
    sqlite_run(terminal.folder / "control.db", "CREATE TABLE tenants (name TEXT, url TEXT)")
    rows = [
        ("acme", "sqlite:///data/acme.db"), ("../../x", "sqlite:///data/beta.db"), ("odd", "ftp://x"),
        ("none", None), (None, "sqlite:///data/beta.db"), ("beta", "sqlite:///data/beta.db"),
    ]  # fmt: skip
    for row in rows:
        values = ", ".join("NULL" if one is None else f"'{one}'" for one in row)
        sqlite_run(terminal.folder / "control.db", f"INSERT INTO tenants VALUES ({values})")
    ended = terminal.run("migrate", "--all-tenants", "--format", "json")
    assert ended.code == 3 and ended.json()["summary"] == {"migrated": 2, "failed": 4}
    named = [one for one in ended.json()["errors"] if "row" in one]
    assert [one.rpartition("row ")[2] for one in sorted(named)] == ["2", "3", "4", "5"]


@pytest.mark.parametrize("by", ["databases", "prefixes"])
def test_what_a_server_lists_is_set_aside_too(
    by: str, terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """A database, or a prefix that a query brings, with a name that is none."""
    database = make_database(sql_server, "odd")
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    environment = {"TEST_PASSWORD": sql_server.password}
    if by == "databases":
        query(sql_server, f"CREATE DATABASE `{database}[1]`")
        source = f'mysql = "{address(sql_server)}"\ndatabases = "{database}%"\n'
    else:
        source = (
            f'mysql = "{address(sql_server, database)}"\n'
            "prefixes_query = \"SELECT 'a_' UNION SELECT 'b-;_'\"\n"
        )
    terminal.write("ledger.toml", CONFIG + named + source)
    try:
        ended = terminal.run("migrate", "--all-tenants", "--format", "json", env=environment)
        assert ended.code == 3 and ended.json()["summary"] == {"migrated": 1, "failed": 1}, ended
    finally:
        if by == "databases":
            query(sql_server, f"DROP DATABASE `{database}[1]`")
