"""`migrate --explain FILE`: query plans before and after each migration, recorded and told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from ledger import Ledger
from tests.cli.terminal import Terminal, sqlite_run
from tests.cli.test_cli_mysql import address
from tests.servers import Server

MakeDatabase = Callable[..., str]

FIRST = """\
CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(40), age INT, nick VARCHAR(40));
CREATE INDEX users_name ON users(name);
"""
SECOND = "CREATE INDEX users_age ON users(age);\n"
THIRD_SQLITE = "DROP INDEX users_name;\nALTER TABLE users DROP COLUMN nick;\n"
THIRD_MYSQL = "DROP INDEX users_name ON users;\nALTER TABLE users DROP COLUMN nick;\n"
QUERIES = """\
-- query: by id
SELECT * FROM users WHERE id = 7;
-- query: by name
SELECT * FROM users WHERE name = 'ana';
-- query: by age
SELECT id FROM users WHERE age = 7;
-- query: by nick
SELECT nick FROM users WHERE id = 7;
-- query: of tomorrow
SELECT * FROM {later} WHERE id = 7;
"""


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """Three migrations and a file of queries; no tenant yet."""
    terminal.write("migrations/app/001_users.sql", FIRST)
    terminal.write("migrations/app/002_age.sql", SECOND)
    terminal.write("queries.sql", QUERIES)
    return terminal


HEAD = 'migrations = "migrations/app"\nvariables = { later = "later_table" }\n'


def plans(
    terminal: Terminal, env: dict[str, str] | None = None, tenant: str = "*"
) -> list[dict[str, Any]]:
    """What each `explained` event of a tenant says of each query, in order."""
    rows = terminal.ok(
        "history", tenant, "--type", "explained", "--format", "jsonl", env=env
    ).lines()
    return [{one["name"]: one for one in row["body"]["plans"]} for row in rows]


def test_a_plan_that_changes_is_recorded_and_told(terminal: Terminal) -> None:
    """From SCAN to SEARCH and back, each change with the migration that made it, on stdout and in history."""
    terminal.write("migrations/app/003_less.sql", THIRD_SQLITE)
    terminal.write("ledger.toml", HEAD + '[[tenants]]\nsqlite = "data/*.db"\n')
    for name in ("acme", "beta"):
        sqlite_run(terminal.folder / f"data/{name}.db", "CREATE TABLE mine (x)")
    terminal.ok("migrate", "--all-tenants", "--to", "001")
    assert plans(terminal) == []
    ended = terminal.ok("migrate", "--all-tenants", "--explain", "queries.sql")
    second, third = plans(terminal, tenant="acme")
    assert {name: one["how"] for name, one in second.items()} == {
        "by id": "same", "by name": "same", "by age": "changed", "by nick": "same",
        "of tomorrow": "not_yet",
    }  # fmt: skip
    assert second["by age"]["before"] == ["SCAN users"]
    assert "SEARCH users USING" in second["by age"]["after"][0]
    assert {name: one["how"] for name, one in third.items()} == {
        "by id": "same", "by name": "changed", "by age": "same", "by nick": "broken",
        "of tomorrow": "not_yet",
    }  # fmt: skip
    assert "USING INDEX users_name" in third["by name"]["before"][0]
    assert third["by name"]["after"] == ["SCAN users"]
    assert "nick" in third["by nick"]["detail"]
    assert "warning: app/003: query 'by name' has another plan: SEARCH users USING" in ended.out
    assert "-> SCAN users (2 tenants)" in ended.out
    assert "warning: app/003: query 'by nick' cannot run any more:" in ended.out
    told = terminal.ok("history", "acme", "--type", "explained").out
    assert "app/002 1 of 5 query plans changed by age" in told
    assert "app/003 2 of 5 query plans changed by name by nick" in told
    assert terminal.ok("verify").code == 0


def test_the_story_of_one_tenant_shows_both_plans(terminal: Terminal) -> None:
    """`migrate -v` of one tenant: every query, and the plans that changed, before and after."""
    terminal.write("ledger.toml", HEAD + '[[tenants]]\nsqlite = "data/*.db"\n')
    sqlite_run(terminal.folder / "data/acme.db", "CREATE TABLE mine (x)")
    terminal.ok("migrate", "--tenant", "acme", "--to", "001")
    told = terminal.ok("migrate", "--tenant", "acme", "-v", "--explain", "queries.sql").out
    assert "Comparing query plans" in told and "  ✓ by id: same" in told
    assert "  ⊘ by age: changed" in told and "      before: SCAN users" in told


def test_worker_processes_explain_too(terminal: Terminal) -> None:
    """A large fleet is migrated by processes of its own; each of its tenants has its plans."""
    terminal.write("ledger.toml", "workers = 2\n" + HEAD + '[[tenants]]\nsqlite = "data/*.db"\n')
    for number in range(4):
        sqlite_run(terminal.folder / f"data/t{number}.db", "CREATE TABLE mine (x)")
    terminal.ok("migrate", "--all-tenants", "--to", "001")
    ended = terminal.ok("migrate", "--all-tenants", "--explain", "queries.sql")
    assert "query 'by age' has another plan: SCAN users -> SEARCH" in ended.out
    assert "(4 tenants)" in ended.out
    assert len(plans(terminal)) == 4


def test_what_could_write_is_refused_before_anything_runs(terminal: Terminal) -> None:
    """No SELECT, an unknown placeholder, no such file, a dry run: exit 2, and no tenant is touched."""
    terminal.write("ledger.toml", HEAD + '[[tenants]]\nsqlite = "data/*.db"\n')
    sqlite_run(terminal.folder / "data/acme.db", "CREATE TABLE mine (x)")
    terminal.write("bad.sql", "-- query: a\nDELETE FROM mine;\n")
    terminal.write("unknown.sql", "-- query: a\nSELECT * FROM {latr};\n")
    for name, said in (
        ("bad.sql", "is not a SELECT"),
        ("unknown.sql", "{later}"),
        ("no.sql", "no.sql"),
    ):
        ended = terminal.run("migrate", "--all-tenants", "--explain", name)
        assert ended.code == 2 and said in ended.err, ended
    ended = terminal.run("migrate", "--all-tenants", "--dry-run", "--explain", "queries.sql")
    assert ended.code == 2
    assert terminal.ok("status", "--format", "json").json()["summary"] == {"new": 1}


def test_from_python(terminal: Terminal) -> None:
    """`Ledger.migrate(explain=…)`: the changes are warnings of the tenant's outcome."""
    terminal.write("ledger.toml", HEAD + '[[tenants]]\nsqlite = "data/*.db"\n')
    sqlite_run(terminal.folder / "data/acme.db", "CREATE TABLE mine (x)")
    ledger = Ledger.open(terminal.folder / "ledger.toml")
    anyio.run(partial(ledger.migrate, to="001"))
    report = anyio.run(partial(ledger.migrate, explain=terminal.folder / "queries.sql"))
    (outcome,) = report.outcomes
    assert outcome.ok and len(outcome.warnings) == 1
    assert outcome.warnings[0].startswith("app/002: query 'by age' has another plan: SCAN users")


def test_on_a_server(terminal: Terminal, sql_server: Server, make_database: MakeDatabase) -> None:
    """The same on MariaDB and MySQL: access type and key, without estimates that change by themselves."""
    terminal.write("migrations/app/003_less.sql", THIRD_MYSQL)
    database = make_database(sql_server)
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    terminal.write(
        "ledger.toml", f'{HEAD}[[tenants]]\n{named}mysql = "{address(sql_server, database)}"\n'
    )
    env = {"TEST_PASSWORD": sql_server.password}
    values = ", ".join(f"({number}, 'n{number}', {number})" for number in range(1, 201))
    terminal.write(
        "migrations/app/001_users.sql",
        FIRST + f"INSERT INTO users (id, name, age) VALUES {values};\n",
    )
    terminal.ok("migrate", "--all-tenants", "--to", "001", env=env)
    ended = terminal.ok("migrate", "--all-tenants", "--explain", "queries.sql", env=env)
    second, third = plans(terminal, env)
    assert second["by age"]["how"] == "changed" and second["by id"]["how"] == "same"
    assert second["by age"]["before"] == ["users: ALL, no key (Using where)"]
    assert second["by age"]["after"][0].startswith("users: ref KEY users_age")
    assert third["by name"]["how"] == "changed" and third["by nick"]["how"] == "broken"
    assert third["of tomorrow"]["how"] == "not_yet"
    assert "users: ref KEY users_name" in ended.out and "users: ALL, no key" in ended.out
