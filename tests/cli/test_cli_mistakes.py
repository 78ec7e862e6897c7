"""What people do wrong, and faults around them: one clear message, the right exit code, no secret, no traceback."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests import programs
from tests.cli.terminal import CANARY, Terminal, checked, sqlite_rows, sqlite_run
from tests.programs import LEDGER, Ended

CONFIG = """\
migrations = "migrations/app"
[[tenants]]
sqlite = "data/*.db"
"""
FIRST = "CREATE TABLE users (id INTEGER PRIMARY KEY);\n"


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """Three tenants and one migration."""
    terminal.write("ledger.toml", CONFIG)
    terminal.write("migrations/app/001_users.sql", FIRST)
    for name in ("acme", "beta", "gamma"):
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    return terminal


def test_an_unknown_tenant_is_named(terminal: Terminal) -> None:
    """Exit 2, with the nearest name; nobody else is touched."""
    ended = terminal.run("migrate", "--tenant", "acne")
    assert ended.code == 2 and "'acne'" in ended.err and "acme" in ended.err
    assert terminal.ok("runs", "--format", "json").json() == []


def test_an_unknown_version_names_those_there_are(terminal: Terminal) -> None:
    """--to with a version that no file has."""
    ended = terminal.run("migrate", "--all-tenants", "--to", "9")
    assert ended.code == 2 and "app/001" in ended.err


def test_a_guard_with_a_slip_in_it_stops_everything(terminal: Terminal) -> None:
    """The statement that it guards does not run without it: exit 2, the line, what was meant."""
    terminal.write("migrations/app/002_mine.sql", "\n-- skpi-if: table mine\nDROP TABLE mine;\n")
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 2 and "002_mine.sql:2" in ended.err and "-- skip-if: …" in ended.err
    assert sqlite_rows(terminal.folder / "data/acme.db", "SELECT name FROM sqlite_master") == [
        ("mine",)
    ]


def test_a_missing_file_is_one_tenants_failure(terminal: Terminal) -> None:
    """A path that is not there: named, never created; the others go on, exit 3."""
    terminal.write("ledger.toml", CONFIG + '[[tenants]]\nsqlite = "elsewhere/lost.db"\n')
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 3
    assert "1 tenant of 4 failed:\n  lost: unreachable" in ended.out and "3 migrated" in ended.out
    assert "To continue: ledger migrate --all-tenants" in ended.out
    assert not (terminal.folder / "elsewhere").exists()


def test_a_file_that_is_no_database(terminal: Terminal) -> None:
    """Rubbish in a tenant's file: that tenant only, with what is wrong."""
    terminal.write("data/broken.db", "this is no database, " * 100)
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 3 and "  broken: " in ended.out and "not a SQLite database" in ended.out


def test_a_failing_statement_leaves_the_tenant_as_it_was(terminal: Terminal) -> None:
    """File and line, the database's words; corrected, the same command goes on."""
    bad = terminal.write(
        "migrations/app/002_more.sql", "CREATE TABLE more (x);\n\nINSERT INTO nope VALUES (1);\n"
    )
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 3 and "3 tenants of 3 failed:" in ended.out
    assert "  acme: failed: app/002 step 2" in ended.out
    assert "no such table: nope" in ended.out and "002_more.sql:3" in ended.out
    names = sqlite_rows(terminal.folder / "data/acme.db", "SELECT name FROM sqlite_master")
    assert ("more",) not in names and ("users",) in names
    status = terminal.run("status", "--check", "--format", "json")
    assert status.code == 4 and status.json()["summary"] == {"failed": 3}
    bad.write_text("CREATE TABLE more (x);\n")
    assert "3 migrated" in terminal.ok("migrate", "--all-tenants").out


def test_max_failures_stops_and_names_who_was_not_reached(terminal: Terminal) -> None:
    """--on-error stop, and --max-failures with nonsense."""
    terminal.write("migrations/app/001_users.sql", "INSERT INTO nope VALUES (1);\n")
    ended = terminal.run("migrate", "--all-tenants", "--on-error", "stop", "--parallel", "1")
    assert (
        ended.code == 3
        and "2 tenants not reached (stopped after 1 failed): beta, gamma" in ended.out
    )
    ended = terminal.run("migrate", "--all-tenants", "--max-failures", "some")
    assert ended.code == 2 and "5%" in ended.err


def test_an_edited_migration_shows_both_checksums(terminal: Terminal) -> None:
    """What ran must not change: exit 1, the tenants concerned, what to do."""
    terminal.ok("migrate", "--all-tenants")
    terminal.write("migrations/app/001_users.sql", FIRST + "-- edited\n")
    for name in ("migrate", "plan"):
        ended = terminal.run(name, "--all-tenants")
        assert ended.code == 1 and "edited after it ran" in ended.err
        assert "acme, beta, gamma" in ended.err and "001_users.sql" in ended.err


def test_a_late_version(terminal: Terminal) -> None:
    """A lower version that comes after a higher one: an error by default, applied on request."""
    terminal.write("migrations/app/003_third.sql", "CREATE TABLE third (x);\n")
    terminal.ok("migrate", "--all-tenants")
    terminal.write("migrations/app/002_second.sql", "CREATE TABLE second (x);\n")
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code != 0 and "--out-of-order" in ended.out + ended.err
    assert "3 migrated" in terminal.ok("migrate", "--all-tenants", "--out-of-order").out


def test_an_unknown_placeholder_stops_before_anything_runs(terminal: Terminal) -> None:
    """Exit 2, file and line; no tenant is touched."""
    terminal.write("migrations/app/002_more.sql", "CREATE TABLE {prefx}more (x);\n")
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 2 and "{prefx}" in ended.err and "002_more.sql:1" in ended.err
    names = sqlite_rows(terminal.folder / "data/acme.db", "SELECT name FROM sqlite_master")
    assert names == [("mine",)]


def test_an_unfinished_file_is_named(terminal: Terminal) -> None:
    """An unterminated quote is refused at plan time, by file and line."""
    terminal.write("migrations/app/002_more.sql", "SELECT 1;\nINSERT INTO users VALUES ('x;\n")
    for name in ("plan", "migrate"):
        ended = terminal.run(name, "--all-tenants")
        assert ended.code == 2 and "002_more.sql:2" in ended.err


def test_two_tenants_with_one_name(terminal: Terminal) -> None:
    """Both sources are named, and the way out."""
    sqlite_run(terminal.folder / "more/acme.db", "CREATE TABLE mine (x)")
    terminal.write("ledger.toml", CONFIG + '[[tenants]]\nsqlite = "more/*.db"\n')
    ended = terminal.run("status")
    assert ended.code == 2 and "tenants[1]" in ended.err and "tenants[2]" in ended.err
    terminal.write(
        "ledger.toml", CONFIG + '[[tenants]]\nsqlite = "more/*.db"\nname = "more-{name}"\n'
    )
    assert "more-acme" in terminal.ok("tenants").out


def test_a_wrong_configuration_is_located(terminal: Terminal) -> None:
    """File, line, key and the nearest valid key; --env and --config too."""
    terminal.write("ledger.toml", "paralel = 4\n" + CONFIG)
    ended = terminal.run("status")
    assert ended.code == 2
    assert "ledger.toml:1: unknown key 'paralel'" in ended.err and "'parallel'" in ended.err
    terminal.write("ledger.toml", CONFIG)
    assert "no environment 'prod'" in terminal.run("status", "--env", "prod").err
    assert "no such file" in terminal.run("status", "--config", "nope.toml").err


def test_a_ledger_that_cannot_be_opened(terminal: Terminal) -> None:
    """Rubbish where the ledger should be: exit 1, the file named."""
    terminal.write("ledger.db", "this is no database, " * 100)
    for arguments in (["status"], ["migrate", "--all-tenants"], ["verify"]):
        ended = terminal.run(*arguments)
        assert ended.code == 1 and "ledger.db" in ended.err


def test_a_ledger_that_is_not_there(terminal: Terminal) -> None:
    """Reading commands make no ledger where there is none; they say what to type."""
    ended = terminal.run("history")
    assert ended.code == 1 and "ledger" in ended.err and "hint:" in ended.err
    assert not (terminal.folder / "ledger.db").exists()


def test_passwords_are_never_shown(terminal: Terminal) -> None:
    """In a URL, a variable or a file: refused servers, wrong URLs, LEDGER_DEBUG, verbose, JSON."""
    (terminal.folder / "secret").write_text(CANARY + "\n")
    places = (
        f'mysql = "mysql://app:{CANARY}@127.0.0.1:1/x"',
        'mysql = "mysql://app@127.0.0.1:1/x"\npassword_env = "CANARY_PASSWORD"',
        'mysql = "mysql://app@127.0.0.1:1/x"\npassword_file = "secret"',
        f'mysql = "mysql://app@127.0.0.1:1/x"\npassword_command = ["echo", "{CANARY}"]',
        f'mysql = "mysql://app:{CANARY}/@127.0.0.1:1/x"',
        f'query = "SELECT 1"\nurl = "mysql://app:{CANARY}@127.0.0.1:1/x"',
    )
    env = {"CANARY_PASSWORD": CANARY, "LEDGER_DEBUG": "0"}
    for place in places:
        terminal.write("ledger.toml", f"{CONFIG}[[tenants]]\n{place}\n")
        for arguments in (
            ["tenants"],
            ["migrate", "--all-tenants", "-vv"],
            ["status", "--log-format", "json"],
            ["validate", "--format", "json"],
            ["history", "--format", "jsonl"],
        ):
            terminal.run(*arguments, env=env)
    for path in terminal.folder.rglob("*"):
        if path.is_file() and path.name not in ("ledger.toml", "secret"):
            assert CANARY.encode() not in path.read_bytes(), path


def test_an_internal_error_has_no_traceback(terminal: Terminal) -> None:
    """A bug of ours: how to report it; the traceback only under LEDGER_DEBUG=1, and redacted."""
    code = f"""
import sys
import ledger.cli.session
def broken(*arguments, **options):
    raise RuntimeError("at mysql://app:{CANARY}@db/x")
ledger.cli.session.load_config = broken
from ledger.cli import main
main(["status"])
"""
    for debug in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=terminal.folder,
            env={**os.environ, "LEDGER_DEBUG": debug},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1 and "internal error: RuntimeError" in done.stderr
        assert "LEDGER_DEBUG=1" in done.stderr and CANARY not in done.stderr
        assert ("Traceback" in done.stderr) == (debug == "1")


def test_a_reader_that_goes_away(terminal: Terminal) -> None:
    """`ledger history | head -1`: no complaint from us."""
    terminal.ok("migrate", "--all-tenants")
    done = subprocess.run(
        f"{sys.executable} -m ledger history --format jsonl | head -1",
        shell=True,
        cwd=terminal.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith('{"seq":1,') and done.stderr == ""


def test_control_characters_of_a_database_do_not_reach_the_terminal(terminal: Terminal) -> None:
    """A migration whose error holds an escape sequence cannot colour the screen."""
    terminal.write("migrations/app/002_more.sql", 'INSERT INTO "\x1b[31mred" VALUES (1);\n')
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 3 and "\\x1b[31mred" in ended.out and "\\x1b[31mred" in ended.err
    assert "\x1b" not in ended.out + ended.err + terminal.run("status").out


def test_interrupted_by_a_person(terminal: Terminal) -> None:
    """SIGINT: the tenants in hand are finished, the rest named, and the same command goes on."""
    slow = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)\n"
        "INSERT INTO users SELECT max(i) FROM n;\n"
    )
    terminal.write("migrations/app/002_slow.sql", slow)
    process = programs.start(
        LEDGER, "migrate", "--all-tenants", "--parallel", "1", cwd=terminal.folder
    )
    _wait_for_first_step(terminal.folder / "ledger.db")
    process.send(signal.SIGINT)
    code, out, err = process.wait()
    assert code == 3, (out, err)
    assert "Traceback" not in err and "To continue: ledger migrate" in out
    assert "not reached" in out
    assert terminal.ok("migrate", "--all-tenants").code == 0
    status = terminal.ok("status", "--check", "--format", "json").json()
    assert status["summary"] == {"current": 3}


def _wait_for_first_step(database: Path) -> None:
    """Until a tenant has been claimed."""
    for _ in range(600):
        if database.exists():
            with closing(sqlite3.connect(database)) as connection:
                tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'event_log'")
                if (
                    tables.fetchone()
                    and connection.execute(
                        "SELECT 1 FROM event_log WHERE type = 'started'"
                    ).fetchone()
                ):
                    return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("no tenant was claimed")


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("migrate", "--all-tenants"),
        ("new", "add_x"),
        ("lint",),
        ("init",),
        ("demo",),
        ("--config", "ledger.toml", "tenants"),
    ],
)
def test_a_working_folder_that_is_gone(terminal: Terminal, words: tuple[str, ...]) -> None:
    """Typed in a folder that has been deleted: one message that says so, and what to do."""
    gone = terminal.folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    ended = terminal.run(*words)
    assert ended.code == 2 and "internal error" not in ended.err
    assert "the working folder has been deleted" in ended.err and "cd" in ended.err
    assert len(ended.err.splitlines()) == 2


def test_a_working_folder_that_is_gone_is_not_needed(terminal: Terminal) -> None:
    """With the configuration's whole path the commands do without it."""
    gone = terminal.folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    config = str(terminal.folder / "ledger.toml")
    assert "3 migrated" in terminal.ok("--config", config, "migrate", "--all-tenants").out
    assert terminal.ok("--config", config, "verify").code == 0


@pytest.mark.parametrize("time", ["99999999999d", "0001-01-01T00:00+10:00", "yesterday"])
def test_a_time_that_is_none(terminal: Terminal, time: str) -> None:
    """Also one that no calendar has: exit 2, and what to write."""
    ended = terminal.run("status", "--at", time)
    assert ended.code == 2 and repr(time) in ended.err and "2h or 3d" in ended.err


def test_a_time_long_ago_is_before_everything(terminal: Terminal) -> None:
    """The year 999 comes before 2026, also as text."""
    terminal.ok("migrate", "--all-tenants")
    assert terminal.ok("history", "--until", "0999-01-01", "--format", "json").json() == []
    assert terminal.ok("history", "--since", "0999-01-01", "--format", "json").json()


def test_a_password_file_without_an_end(terminal: Terminal) -> None:
    """It is read no further than any password goes."""
    terminal.write(
        "ledger.toml",
        'url = "mysql://app@127.0.0.1:1/x"\npassword_file = "/dev/zero"\n' + CONFIG,
    )
    ended = terminal.run("status")
    assert ended.code == 2 and "/dev/zero" in ended.err and "longer than" in ended.err


def in_shell(terminal: Terminal, typed: str) -> Ended:
    """A command line as a shell runs it; `ledger` is a process of its own."""
    line = typed.replace("ledger", f"{sys.executable} -m ledger", 1)
    done = subprocess.run(
        ["bash", "-c", line], cwd=terminal.folder, capture_output=True, text=True, timeout=60
    )
    return checked(Ended(done.returncode, done.stdout, done.stderr))


@pytest.mark.parametrize("command", ["status", "history --format jsonl", "--help", "runs"])
def test_output_that_finds_no_room(terminal: Terminal, command: str) -> None:
    """A full disk behind stdout is told in one message, and is no bug of ours."""
    terminal.ok("migrate", "--all-tenants")
    ended = in_shell(terminal, f"ledger {command} >/dev/full")
    assert ended.code == 1 and "error: the output cannot be written: no space" in ended.err
    assert "bug" not in ended.err


def test_a_run_whose_output_finds_no_room_is_done_all_the_same(terminal: Terminal) -> None:
    """Neither stdout nor stderr nor the log file decides what becomes of a tenant."""
    ended = in_shell(terminal, "ledger migrate --all-tenants >/dev/full 2>/dev/full")
    assert ended.code == 1
    terminal.ok("status", "--check")
    ended = terminal.start("validate", "--log-file", "/dev/full")
    assert ended.code == 0 and ended.err.count("cannot be written any more") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(terminal: Terminal, closed: str) -> None:
    """Nobody wants to see or say anything: the work is done, exit 0."""
    ended = in_shell(terminal, f"ledger migrate --all-tenants {closed}")
    assert ended.code == 0, ended
    terminal.ok("status", "--check")


def test_a_doubt_is_settled_one_way(terminal: Terminal) -> None:
    """Of --applied and --not-applied the last one won."""
    ended = terminal.run("resolve", "--tenant", "acme", "--applied", "--not-applied", "-y")
    assert ended.code == 2 and "one of --applied, --not-applied and --restore" in ended.err


def test_yes_does_not_answer_drop_all(terminal: Terminal) -> None:
    """And who typed -y is not told to add it."""
    terminal.ok("migrate", "--all-tenants")
    ended = terminal.start("reset", "--all-tenants", "--drop-all", "-y")
    assert ended.code == 2 and "add --yes-drop NAME" in ended.err and "add -y" not in ended.err


@pytest.mark.parametrize("typed", ["status --env", "rollback --all-tenants", "plan --to"])
def test_an_empty_word_is_a_slip(terminal: Terminal, typed: str) -> None:
    """A variable that was not set: never the meaning of the command without it."""
    terminal.ok("migrate", "--all-tenants")
    for last in ([*typed.split(), ""], [*typed.split()[:-1], f"{typed.split()[-1]}="]):
        ended = terminal.run(*last)
        assert ended.code == 2, last
    assert "is empty" in terminal.run(*typed.split(), "").err
    assert "no tenant matches 'x='" in terminal.run("status", "--tenant=x=").err
    terminal.ok("migrate", "--all-tenants", "--reason", "")
    terminal.ok("status", "--check")


def test_the_same_argument_twice_is_not_an_empty_one(terminal: Terminal) -> None:
    """A folder may be named as the command is."""
    ended = terminal.run("demo", "demo", "--tenants", "1")
    assert ended.code == 0 and "1 current" in ended.out, ended


def test_what_is_no_text_is_not_recorded(terminal: Terminal) -> None:
    """Words and folders that are not UTF-8 are refused before anything is done."""
    ended = terminal.run("migrate", "--all-tenants", "--reason", os.fsdecode(b"\xff"))
    assert ended.code == 2 and "argument 4 is not UTF-8" in ended.err
    assert not (terminal.folder / "ledger.db").exists()
    folder = terminal.folder / os.fsdecode(b"by\xffte")
    folder.mkdir()
    (folder / "ledger.toml").write_text(CONFIG)
    done = in_shell(terminal, "cd by*te && ledger migrate --all-tenants")
    assert done.code == 2 and "not UTF-8 text" in done.err


def by_hand(terminal: Terminal, *statements: str) -> None:
    """Change the ledger as somebody would who may write its file."""
    path = terminal.folder / "ledger.db"
    triggers = sqlite_rows(path, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
    sqlite_run(path, *(f"DROP TRIGGER {name}" for (name,) in triggers), *statements)


@pytest.mark.parametrize("body", ["x", '{"type": "completed", "schema": 1}'])
def test_an_event_that_no_version_wrote(terminal: Terminal, body: str) -> None:
    """Whatever needs it names its seq and the next step, and ends with 4; it is no bug of ours."""
    terminal.ok("migrate", "--all-tenants")
    by_hand(
        terminal,
        f"UPDATE events SET body = '{body}' WHERE seq = 5",
        "DELETE FROM meta WHERE key LIKE 'projection_seq:%'",
        "DELETE FROM projections",
    )
    for command in ("status", "migrate --all-tenants", "history", "runs"):
        ended = terminal.run(*command.split())
        if command != "history" or body == "x":
            assert ended.code == 4, (command, ended)
            assert "event 5" in ended.err and "ledger verify" in ended.err
        assert "bug" not in ended.err, ended
    ended = terminal.run("verify")
    assert ended.code == 4 and "seq 5" in ended.out


def test_a_projection_that_no_version_wrote(terminal: Terminal) -> None:
    """It is named, and a replay replaces it."""
    terminal.ok("migrate", "--all-tenants")
    by_hand(terminal, "UPDATE projections SET state = x'78'")
    ended = terminal.run("status")
    assert ended.code == 4 and "verify --rebuild" in ended.err
    terminal.ok("verify", "--rebuild")
    terminal.ok("status", "--check")
