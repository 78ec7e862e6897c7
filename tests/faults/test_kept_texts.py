"""Somebody changes or deletes what the ledger keeps of migrations, or puts into an event what is none."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.cli.terminal import Terminal, sqlite_rows, sqlite_run
from tests.cli.test_cli_mysql import MakeDatabase, address
from tests.programs import Ended
from tests.servers import Server, queries

USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY);\n-- migrate:down\nDROP TABLE users;\n"
AGES = "CREATE TABLE ages (id INTEGER PRIMARY KEY);\n-- migrate:down\nDROP TABLE ages;\n"
OTHER = USERS.replace("DROP TABLE users", "DROP TABLE mine")

pytestmark = pytest.mark.fault(58)


class Kept:
    """Two SQLite tenants and a ledger, in a file or on a server, with two migrations applied."""

    def __init__(
        self, terminal: Terminal, server: Server | None = None, database: str = ""
    ) -> None:
        self.terminal, self.server, self.database = terminal, server, database
        self.env = {"TEST_PASSWORD": server.password} if server else {}
        url = address(server, database) if server else "sqlite:///ledger.db"
        named = 'password_env = "TEST_PASSWORD"\n' if server and server.password else ""
        terminal.write(
            "ledger.toml",
            f'url = "{url}"\n{named}migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n',
        )
        terminal.write("migrations/app/001_users.sql", USERS)
        terminal.write("migrations/app/002_ages.sql", AGES)
        for name in ("acme", "beta"):
            sqlite_run(terminal.folder / f"data/{name}.db", "CREATE TABLE mine (x)")
        self.ok("migrate", "--all-tenants")

    def run(self, *arguments: str) -> Ended:
        """Run a command to its end; none may call what others did to the ledger a bug."""
        ended = self.terminal.run(*arguments, env=self.env)
        assert "internal error" not in ended.err, (arguments, ended.err)
        return ended

    def ok(self, *arguments: str) -> Ended:
        """Run a command that must end with 0."""
        ended = self.run(*arguments)
        assert ended.code == 0, ended
        return ended

    def change(self, statement: str) -> None:
        """Change the ledger as its owner, with the triggers dropped."""
        triggers = ("update", "delete")
        if self.server:
            drop = [
                f"DROP TRIGGER IF EXISTS {on}_refuse_{do}"
                for on in ("events", "scripts")
                for do in triggers
            ]
            queries(self.server, [*drop, statement], database=self.database)
            return
        with closing(sqlite3.connect("ledger.db", isolation_level=None)) as db:
            for on in ("events", "scripts"):
                for do in triggers:
                    db.execute(f"DROP TRIGGER IF EXISTS {on}_refuse_{do}")
            db.execute(statement)

    def body(self, seq: int, body: str) -> None:
        """Put another body into an event; backslashes as the database wants them."""
        escaped = body.replace("\\", "\\\\") if self.server else body
        self.change(f"UPDATE events SET body = '{escaped}' WHERE seq = {seq}")

    def verify(self) -> dict[str, Any]:
        """What verify found, as JSON; it must have found something."""
        ended = self.run("verify", "--format", "json")
        assert ended.code == 4, ended
        found: dict[str, Any] = ended.json()
        return found

    def tables(self, tenant: str) -> set[str]:
        """The tenant's own tables."""
        rows = sqlite_rows(
            self.terminal.folder / f"data/{tenant}.db",
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'ledger_%'",
        )
        return {row[0] for row in rows}


@pytest.fixture(params=["sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def kept(request: pytest.FixtureRequest, make_database: MakeDatabase, terminal: Terminal) -> Kept:
    """The same fleet, with its ledger in each kind of database."""
    if request.param == "sqlite":
        return Kept(terminal)
    server: Server = request.getfixturevalue(request.param)
    return Kept(terminal, server, make_database(server))


def sha256(text: str) -> str:
    """A text's key."""
    return hashlib.sha256(text.encode()).hexdigest()


COMMANDS = (
    ("rollback", "--tenant", "acme", "-y"),
    ("rollback", "--tenant", "acme", "--by", "script", "-y"),
    ("reset", "--tenant", "acme", "--to", "001", "-y"),
    ("reset", "--tenant", "acme", "--drop-all", "--yes-drop", "acme"),
)


@pytest.mark.parametrize("how", ["changed", "deleted", "empty"])
def test_a_text_that_was_changed_or_deleted_is_located_and_never_run(kept: Kept, how: str) -> None:
    """verify names it and its migration; whatever would undo it refuses, and runs no file in its place."""
    assert "kept texts verified" in kept.ok("verify").out
    key = sha256(AGES)
    text = "" if how == "empty" else OTHER
    kept.change(
        f"DELETE FROM scripts WHERE sha256 = '{key}'"
        if how == "deleted"
        else f"UPDATE scripts SET content = '{text}' WHERE sha256 = '{key}'"
    )
    (bad,) = kept.verify()["bad_texts"]
    assert (bad["sha256"], bad["migration"], bad["part"]) == (key, "app/002", "file")
    assert bad["found"] == (None if how == "deleted" else sha256(text))
    told = kept.run("verify")
    assert told.code == 4 and key in told.out and "app/002" in told.out
    assert ("is missing" if how == "deleted" else "was changed") in told.out
    for command in COMMANDS:
        ended = kept.run(*command)
        assert ended.code != 0 and key in ended.out + ended.err, (command, ended)
        assert "ledger verify" in ended.out + ended.err
        assert kept.tables("acme") == {"mine", "users", "ages"}, command
    assert kept.run("rollback", "--tenant", "acme", "--dry-run").code != 0
    assert kept.run("validate").code != 0


def test_a_missing_text_is_taken_from_its_file_again(kept: Kept) -> None:
    """`verify --rebuild` keeps it again if the file is as it was when it ran, and only then."""
    kept.change("DELETE FROM scripts")
    kept.terminal.write("migrations/app/001_users.sql", OTHER)
    missing = {one["migration"] for one in kept.verify()["bad_texts"] if one["part"] == "file"}
    assert missing == {"app/001", "app/002"}
    ended = kept.run("verify", "--rebuild", "--format", "json")
    assert ended.code == 4
    assert {one["migration"] for one in ended.json()["bad_texts"] if one["part"] == "file"} == {
        "app/001"
    }
    kept.ok("rollback", "--tenant", "acme", "-y")
    assert kept.tables("acme") == {"mine", "users"}
    assert kept.run("rollback", "--tenant", "acme", "-y").code != 0
    assert kept.tables("acme") == {"mine", "users"}


BODIES = {
    "an array": "[]",
    "a text": '"x"',
    "nothing": "",
    "no JSON": "{",
    "null": "null",
    "deep": "[" * 20_000,
    "wrong types": '{"type":"validated","schema":1,"passed":true,"checks":5}',
    "a wrong count": '{"type":"run_finished","schema":1,"outcomes":[1],"duration_us":1}',
    "an array as type": '{"type":[1],"schema":1}',
    "control characters": '{"type":"failed","schema":1,"command":"migrate","error":"a\x1b[31m\x07"}',
    "half a character": '{"type":"failed","schema":1,"command":"migrate","error":"\\ud800"}',
}
READING = (
    ("history",),
    ("history", "--format", "json"),
    ("history", "--format", "jsonl"),
    ("history", "--format", "csv"),
    ("history", "acme"),
    ("export", "--events"),
    ("status", "--at", "2100-01-01T00:00:00Z"),
    ("backups",),
    ("stats",),
    ("verify",),
    ("export", "--version-json"),
    ("rollback", "--all-tenants", "--dry-run"),
)


@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_is_none_is_named_by_its_seq(kept: Kept, body: str) -> None:
    """Every command that reads it says which event it is, and prints nothing of it raw."""
    events = kept.ok("history", "acme", "--format", "jsonl").lines()
    seq = next(one["seq"] for one in events if one["type"] == "backup_created")
    kept.body(seq, BODIES[body])
    for command in READING:
        ended = kept.run(*command)
        assert "\x1b" not in ended.out + ended.err and "\x07" not in ended.out + ended.err
        if command[0] in ("history", "verify", "status") or command == ("export", "--events"):
            assert ended.code == 4, (command, ended)
            assert f"event {seq}" in ended.err or f"seq {seq}" in ended.out, (command, ended)


def test_what_is_no_event_ends_no_command_as_a_bug(kept: Kept) -> None:
    """Stored projections, the head row and a schema's text that were overwritten end in plain words."""
    schema = json.dumps({"tables": 5})
    for statement in (
        "UPDATE projections SET state = 'x'",
        f"UPDATE scripts SET content = '{schema}' WHERE content LIKE '{{%'",
        "UPDATE meta SET value = 'x' WHERE `key` LIKE 'projection_seq%'",
        "UPDATE head SET hash = 'x'",
        "UPDATE events SET at = 9000000000000000000, run = 999 WHERE seq = 3",
    ):
        kept.change(statement)
        assert kept.verify()["problems"]
        for command in (
            *READING,
            ("status",),
            ("runs",),
            ("plan",),
            ("validate",),
            ("export", "--head"),
        ):
            kept.run(*command)
