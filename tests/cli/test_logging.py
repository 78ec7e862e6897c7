"""`--log-file`, and a logger for each area that an application can route."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from ledger.cli.logs import logging_to
from ledger.cli.settings import Settings
from tests.cli.terminal import CANARY, Terminal, sqlite_run
from tests.cli.test_cli_mysql import address
from tests.fleet.world import Fleet
from tests.servers import Server

MakeDatabase = Callable[..., str]

USERS = """\
-- step: Create users
CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(40));
-- migrate:verify
-- check: There are users
SELECT count(*) = 0 FROM users;
"""
LINE = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] [A-Z]+ ledger(\.\w+)?: .+")


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """A folder with one migration and two SQLite tenants."""
    terminal.write("migrations/app/001_users.sql", USERS)
    terminal.write(
        "ledger.toml", 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n'
    )
    for name in ("acme", "beta"):
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    return terminal


def test_a_log_file_tells_what_happened(terminal: Terminal) -> None:
    """Timed lines as in the Woo document, `Starting migration 001` … `completed successfully`; appended."""
    quiet = terminal.ok("migrate", "--all-tenants", "--dry-run", "--log-file", "run.log")
    assert "Starting" not in quiet.err
    terminal.ok("migrate", "--tenant", "acme", "--log-file", "run.log")
    ended = terminal.ok("migrate", "--tenant", "beta", "--log-file", "run.log")
    assert "Starting migration" not in ended.err + ended.out
    lines = (terminal.folder / "run.log").read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines), lines
    told = [line.partition("] ")[2] for line in lines]
    for name in ("acme", "beta"):
        assert f"INFO ledger.runner: {name}: Starting migration 001 (app, users)" in told
        assert any(
            line.startswith(f"INFO ledger.runner: {name}: Migration 001 completed successfully")
            for line in told
        )
        assert any(line.startswith(f"INFO ledger.backup: {name}: Created backup") for line in told)
    assert sum("ledger.fleet: run " in line for line in told) == 4
    assert not any("step 1/1" in line for line in told)


def test_as_json_and_with_every_step(terminal: Terminal) -> None:
    """One object a line with time, level, logger, tenant, run, event and seq; -v has the steps and the store."""
    terminal.ok(
        "migrate", "--tenant", "acme", "-v", "--log-file", "run.jsonl", "--log-format", "json"
    )
    lines = [json.loads(line) for line in (terminal.folder / "run.jsonl").read_text().splitlines()]
    told = [line for line in lines if "seq" in line]
    history = terminal.ok("history", "--format", "jsonl").lines()
    assert [(line["seq"], line["event"], line["tenant"], line["run"]) for line in told] == [
        (event["seq"], event["type"], event["tenant"], event["run"]) for event in history
    ]
    assert {line["logger"] for line in lines} == {
        "ledger.fleet", "ledger.runner", "ledger.engine", "ledger.backup", "ledger.store"
    }  # fmt: skip


def test_failures_are_in_the_file_too(terminal: Terminal) -> None:
    """A failed tenant is an error line with its reason; so is what ends a whole command."""
    terminal.write("migrations/app/002_bad.sql", "UPDATE nope SET x = 1;\n")
    ended = terminal.run("migrate", "--all-tenants", "--log-file", "run.log")
    assert ended.code == 3 and "ledger.runner" not in ended.err
    text = (terminal.folder / "run.log").read_text()
    assert "ERROR ledger.runner: acme: Migration 002 failed at step 1: " in text and "nope" in text
    terminal.write("migrations/app/001_users.sql", USERS.replace("40", "41"))
    assert terminal.run("migrate", "--all-tenants", "--log-file", "run.log").code == 1
    last = (terminal.folder / "run.log").read_text().splitlines()[-1]
    assert LINE.fullmatch(last) and "ERROR ledger: " in last and "app/001" in last


def test_a_file_that_cannot_be_written_is_wrong_usage(terminal: Terminal) -> None:
    """Said before anything runs, with the path."""
    ended = terminal.run("migrate", "--all-tenants", "--log-file", "no/such/run.log")
    assert ended.code == 2 and "no/such/run.log" in ended.err
    assert terminal.run("history").code != 0


def test_large_fleets_in_worker_processes_are_logged_whole(terminal: Terminal) -> None:
    """Workers append through the run, and the run logs what they did."""
    for number in range(5):
        sqlite_run(terminal.folder / f"data/t{number}.db", "CREATE TABLE mine (x)")
    config = (terminal.folder / "ledger.toml").read_text()
    terminal.write("ledger.toml", "workers = 2\n" + config)
    terminal.ok("migrate", "--all-tenants", "--log-file", "run.log")
    text = (terminal.folder / "run.log").read_text()
    assert text.count("Starting migration 001") == text.count("completed successfully") == 7


def test_no_secret_is_ever_in_it(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """A wrong password that the configuration brings, in a URL or in the environment: not in the file."""
    database = make_database(sql_server)
    place = address(sql_server, database).replace(
        f"//{sql_server.url.user}@", f"//ledger_nobody:{CANARY}@"
    )
    terminal.write(
        "ledger.toml", f'migrations = "migrations/app"\n[[tenants]]\nmysql = "{place}"\n'
    )
    for form in ("text", "json"):
        ended = terminal.run(
            "migrate", "--all-tenants", "-vv", "--log-file", "run.log", "--log-format", form
        )
        assert ended.code == 3
    text = (terminal.folder / "run.log").read_text()
    assert CANARY not in text and "ledger_nobody" in text


def test_passwords_of_urls_are_taken_out_whoever_logs_them(terminal: Terminal) -> None:
    """The last net: a URL with its password in a message, on stderr or in the file."""
    settings = Settings()
    settings.log_file = "run.log"
    with logging_to(settings):
        logging.getLogger("ledger.store").warning("no answer: %s", f"mysql://a:{CANARY}@h/db")
    text = (terminal.folder / "run.log").read_text()
    assert "WARNING ledger.store: no answer: mysql://a:***@h/db" in text and CANARY not in text
    assert terminal.run("--version").err.count("mysql://a:***@h/db") == 1


def test_on_a_server(terminal: Terminal, sql_server: Server, make_database: MakeDatabase) -> None:
    """The same lines for a database on MariaDB or MySQL."""
    database = make_database(sql_server)
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    terminal.write(
        "ledger.toml",
        'migrations = "migrations/app"\n'
        f'[[tenants]]\n{named}mysql = "{address(sql_server, database)}"\n',
    )
    env = {"TEST_PASSWORD": sql_server.password}
    terminal.ok("migrate", "--all-tenants", "-v", "--log-file", "run.log", env=env)
    text = (terminal.folder / "run.log").read_text()
    assert f"ledger.runner: {database}: Starting migration 001 (app, users)" in text
    assert f"ledger.engine: {database}: 001 step 1/1 Create users applied" in text
    assert f"ledger.runner: {database}: Migration 001 completed successfully" in text


def test_an_application_routes_areas_as_it_likes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From Python nothing is set up: a logger that is turned on gives lines, the others stay silent."""
    fleet = Fleet(tmp_path, tenants=1)
    with caplog.at_level(logging.INFO, logger="ledger.backup"):
        anyio.run(fleet.open().migrate)
    assert {record.name for record in caplog.records} == {"ledger.backup"}
    assert [getattr(record, "tenant", None) for record in caplog.records] == ["t0"]


def test_nothing_is_written_where_nobody_listens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library stays silent, also when a tenant fails: not even Python's last resort speaks."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("002_bad.sql", "UPDATE nope SET x = 1;\n")
    report = anyio.run(fleet.open().migrate)
    assert not report.success
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
