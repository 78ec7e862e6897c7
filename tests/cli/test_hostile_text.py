"""Text of others: names, messages and comments that would act on a terminal or in a spreadsheet."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, sqlite_run

EVIL = "\x1b[31m\x07\x9b2J\u202e\x7f\x08\u2068"
FORMULAS = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
NAMES = ("acme", "=cmd", "+x", "@y")
USERS = f"""\
-- step: =1+1 {EVIL}
CREATE TABLE users (id INTEGER PRIMARY KEY, "c{EVIL}" TEXT);
-- migrate:down
DROP TABLE users;
-- migrate:verify
-- check: @check {EVIL}
SELECT 1;
"""
BAD = f'-- step: -bad {EVIL}\nSELECT * FROM "=nope{EVIL}";\n'
COMMANDS = (
    "status", "tenants", "runs", "history", "history -v", "backups", "backups verify", "stats",
    "plan", "plan -v", "validate", "validate -v", "lint", "doctor", "rehearse --all-tenants",
    "verify", "schema acme", "export --version-json", "export --events",
    "maintain --task orphans --all-tenants", "rollback --all-tenants --dry-run",
    "reset --all-tenants --drop-all --dry-run", "migrate --tenant acme", "migrate --tenant acme -v",
    "migrate --tenant acme -vv --log-format json", "migrate --all-tenants -v --log-format json",
)  # fmt: skip


def hidden(text: str) -> set[str]:
    """The characters in it that act on a terminal."""
    return {
        char
        for char in text
        if (ord(char) < 32 and char not in "\n\t")
        or 0x7F <= ord(char) < 0xA0
        or 0x202A <= ord(char) <= 0x202E
        or 0x2066 <= ord(char) <= 0x2069
    }


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    """A fleet whose folder, tenants, steps, checks, columns, actor and reasons are all hostile."""
    folder = tmp_path / f"place{EVIL}"
    folder.mkdir()
    made = Terminal(folder, monkeypatch, capsys)
    monkeypatch.setenv("LEDGER_ACTOR", f"=actor{EVIL}")
    made.write("ledger.toml", 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n')
    made.write("migrations/app/001_users.sql", USERS)
    for name in NAMES:
        sqlite_run(folder / f"data/{name}.db", "CREATE TABLE mine (x)")
    made.ok("migrate", "--all-tenants", "--reason", f"=why{EVIL}")
    made.write("migrations/app/002_bad.sql", BAD)
    made.run("migrate", "--tenant", "acme")
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_no_output_acts_on_a_terminal_or_in_a_spreadsheet(terminal: Terminal, command: str) -> None:
    """In every format, on stdout and stderr, with a log file; what is shown is written out."""
    Path("log").touch()
    for form in ("table", "json", "jsonl", "csv"):
        ended = terminal.run(*command.split(), "--format", form, "--log-file", "log")
        shown = ended.out + ended.err + Path("log").read_text()
        assert not hidden(shown), (form, hidden(shown))
        if form == "csv":
            cells = [cell for row in csv.reader(io.StringIO(ended.out)) for cell in row]
            assert not [one for one in cells if one[:1] in tuple(FORMULAS)]


def test_a_csv_cell_keeps_what_it_says(terminal: Terminal) -> None:
    """An apostrophe stands before a name that begins like a formula, numbers are numbers, others as they are."""
    rows = list(csv.DictReader(io.StringIO(terminal.run("status", "--format", "csv").out)))
    assert [row["tenant"] for row in rows] == ["'+x", "'=cmd", "'@y", "acme"]
    json = terminal.run("status", "--format", "json").json()
    assert [row["tenant"] for row in json["tenants"]] == ["+x", "=cmd", "@y", "acme"]
    runs = list(csv.DictReader(io.StringIO(terminal.ok("runs", "--format", "csv").out)))
    assert runs[0]["tenants"] == "4" and runs[0]["reason"].startswith("'=why\\x1b")


def test_json_says_the_same_with_escapes(terminal: Terminal) -> None:
    """A program reads exactly what was recorded."""
    runs = terminal.ok("runs", "--format", "json").json()
    assert runs[0]["actor"] == f"=actor{EVIL}"
    envelopes = terminal.ok("history", "--format", "jsonl").lines()
    assert {one["body"]["name"] for one in envelopes if one["type"] == "step_applied"} == {
        f"=1+1 {EVIL}"
    }
    assert "the chain holds" in terminal.ok("verify").out


@pytest.mark.parametrize("what", ["a tenant", "a migration", "a key", "an argument"])
def test_what_is_refused_is_named_without_acting(terminal: Terminal, what: str) -> None:
    """Names that no terminal may see are refused in words that it may."""
    arguments: tuple[str, ...] = ("status",)
    if what == "a tenant":
        sqlite_run(terminal.folder / f"data/z{EVIL}.db", "CREATE TABLE mine (x)")
    elif what == "a migration":
        terminal.write(f"migrations/app/003_x{EVIL}.sql", "SELECT 1;\n")
    elif what == "a key":
        terminal.write("ledger.toml", '"bogus\\u001b\\u009b" = 1\n')
    else:
        arguments = ("status", "--at", f"x{EVIL}")
    for more in ((), ("--log-format", "json")):
        ended = terminal.run(*arguments, *more)
        assert ended.code != 0 or what == "a tenant"
        assert not hidden(ended.out + ended.err)
