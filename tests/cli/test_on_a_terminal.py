"""What a person sees on a terminal of 80 or 140 columns: nothing cropped, steps, quiet, and Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.render.columns import width_of
from tests import programs
from tests.cli.terminal import Terminal, sqlite_run
from tests.programs import LEDGER, wait_for

LONG = "a-very-long-tenant-name-with-exactly-sixty-characters-in-it-x"
WIDE = "日本語の名前とても長い"
COMBINING = "e\u0301clair-cafe\u0301"
NAMES = ("acme", LONG, WIDE, COMBINING, "zeta")
USERS = "-- step: Make users\nCREATE TABLE users (id INTEGER PRIMARY KEY);\n-- migrate:down\nDROP TABLE users;\n"
BAD = "-- step: Break\nINSERT INTO a_table_that_is_not_there SELECT * FROM mine, another_table_that_is_not_there;\n"
SLOW = (
    "CREATE TABLE slow AS WITH RECURSIVE n(x) AS"
    " (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000000) SELECT count(*) AS x FROM n;\n"
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A command on a pseudo terminal of so many columns; `raw` is all that it wrote."""

    def __init__(self, folder: Path, columns: int, *arguments: str) -> None:
        self.raw = ""
        self.code: int | None = None
        self._fd, inside = os.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
        self.program = programs.start(
            LEDGER,
            *arguments,
            cwd=folder,
            environment={"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": None},
            stdin=inside,
            output=inside,
        )
        os.close(inside)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        data = b""
        while True:
            try:
                more = os.read(self._fd, 65536)
            except OSError:
                break
            if not more:
                break
            data += more
            self.raw = data.decode("utf-8", "replace")

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._fd, keys)

    def end(self, seconds: float = 60.0) -> Screen:
        """Wait for the end; `code` is negative for a signal."""
        self._reader.join(seconds)
        assert not self._reader.is_alive(), self.raw
        self.code = self.program.wait().code
        os.close(self._fd)
        return self

    @property
    def lines(self) -> list[str]:
        """What was written, line by line, without what only moves the cursor."""
        return ESCAPES.sub("", self.raw).replace("\r\n", "\n").replace("\r", "\n").split("\n")


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """Tenants with long, wide and combining names; some failed, one is no database any more."""
    terminal.write(
        "ledger.toml", 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n'
    )
    terminal.write("migrations/app/001_users.sql", USERS)
    for name in NAMES:
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    terminal.ok(
        "migrate", "--all-tenants", "--reason", "a reason that is longer than there is room for it"
    )
    return terminal


@pytest.fixture
def failed(terminal: Terminal) -> Terminal:
    """Two that failed alike, and one that cannot be opened."""
    terminal.write("migrations/app/002_bad.sql", BAD)
    terminal.run("migrate", "--tenant", "acme", "--tenant", LONG)
    (terminal.folder / "data/zeta.db").write_text("no database")
    terminal.run("migrate", "--tenant", "zeta")
    return terminal


TABLES = (
    "status",
    "runs",
    "stats",
    "history",
    "history -v",
    "backups",
    "backups verify",
    "plan",
    "tenants",
)


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize("command", TABLES)
def test_a_table_crops_no_tenant_state_run_or_error(
    failed: Terminal, command: str, columns: int
) -> None:
    """Each stands whole on one line; only errors and paths are longer than the terminal is wide."""
    shown = Screen(failed.folder, columns, *command.split()).end().lines
    text = "\n".join(shown)
    named = set(NAMES) - ({"zeta"} if command == "history -v" else set())
    assert [name for name in named if name not in text] == [] or command == "runs", text
    runs = [one["run"] for one in failed.ok("runs", "--format", "json").json()]
    if command in ("runs", "history -v"):
        assert [run for run in runs if run not in text] == [], text
    if command == "status":
        for name, state in (
            ("acme", "failed"),
            (LONG, "failed"),
            (WIDE, "pending"),
            ("zeta", "unreachable"),
        ):
            assert any(line.startswith(name) and state in line for line in shown), text
        error = "no such table: a_table_that_is_not_there"
        assert [error in line for line in shown].count(True) == 1
        assert any(line.startswith("2 tenants: ") and error in line for line in shown)
    assert "…" not in text
    rows = [line for line in shown if width_of(line) > columns]
    # A plan is lines of text; a run's id beside a name of sixty characters has no room: both are wrapped.
    allowed = command == "plan" or (command == "history -v" and columns == 80)
    assert allowed or all("tenant" in line for line in rows), rows


@pytest.mark.parametrize("command", ["status", "tenants", "backups", "runs"])
def test_columns_that_have_no_room_are_named(failed: Terminal, command: str) -> None:
    """The least important ones go first, and the last line says which; wide enough, none goes."""
    narrow = Screen(failed.folder, 80, command).end().lines
    wide = Screen(failed.folder, 400, command).end().lines
    (said,) = [line for line in narrow if line.startswith("No room for: ")]
    assert not [line for line in wide if line.startswith("No room")]
    gone = said.removeprefix("No room for: ").partition(" (")[0].split(", ")
    assert not {"Tenant", "State", "Run", "Error"} & set(gone)
    for title in gone:
        assert title in wide[0] and title not in narrow[0]


def test_validate_names_tenants_and_errors_whole(failed: Terminal) -> None:
    """Its lines are not folded into a column either."""
    failed.run("validate")
    text = Screen(failed.folder, 80, "validate").end().raw
    assert "zeta: unreachable, cannot open" in text and "the file is not a SQLite database" in text


def test_widths_of_wide_combining_and_joined_characters() -> None:
    """As a terminal counts them."""
    assert width_of("acme") == 4 and width_of(WIDE) == 22
    assert width_of(COMBINING) == len("eclair-cafe")
    assert width_of("a\u200db") == 2 and width_of("ｱ") == 1 and width_of("\uff21") == 2
    assert width_of("각") == 2 and width_of("\u1100\u1161\u11a8") == 2


def test_verbose_shows_every_step_of_several_tenants(terminal: Terminal) -> None:
    """Each step, each tenant that is done, and each backup stay above the bar."""
    terminal.write("migrations/app/002_more.sql", "-- step: Make more\nCREATE TABLE more (x);\n")
    text = (
        Screen(terminal.folder, 80, "migrate", "--tenant", "acme", "--tenant", WIDE, "-v").end().raw
    )
    for name in ("acme", WIDE):
        assert f"{name}: ✓ step 1/1 Make more" in text, text
        assert f"{name}: migrated, app/002" in text and f"{name}: backup " in text


QUIET: dict[str, Callable[[Terminal], None]] = {
    "migrate --all-tenants": lambda terminal: None,
    "validate": lambda terminal: None,
    "rehearse --all-tenants": lambda terminal: None,
    "verify": lambda terminal: None,
    "backups verify": lambda terminal: None,
    "rollback --all-tenants -y": lambda terminal: None,
    "lint": lambda terminal: None,
}


@pytest.mark.parametrize("command", QUIET)
def test_quiet_prints_nothing_of_what_succeeded(terminal: Terminal, command: str) -> None:
    """Neither on a terminal nor elsewhere."""
    ended = terminal.run(*command.split(), "-q")
    assert (ended.code, ended.out, ended.err) == (0, "", ""), ended
    terminal.write("migrations/app/002_more.sql", USERS.replace("users", "more"))
    screen = Screen(terminal.folder, 80, *command.split(), "-q").end()
    assert (screen.code, screen.raw) == (0, ""), screen.raw


@pytest.mark.parametrize("command", ["init other", "demo shop --tenants 2"])
def test_quiet_prints_nothing_of_what_was_made(terminal: Terminal, command: str) -> None:
    """A script that makes a place wants to know only that it could not."""
    ended = terminal.ok(*command.split(), "-q")
    assert (ended.out, ended.err) == ("", "")


@pytest.mark.parametrize("command", ["migrate --all-tenants", "validate"])
def test_quiet_prints_what_failed_and_nothing_else(failed: Terminal, command: str) -> None:
    """The tenant, its error and what to do."""
    (failed.folder / "migrations/app/002_bad.sql").unlink()
    failed.write("migrations/app/002_more.sql", USERS.replace("users", "more"))
    ended = failed.run(*command.split(), "-q")
    text = ended.out + ended.err
    assert ended.code in (3, 4) and "zeta" in text, ended
    assert WIDE not in text and "migrated ·" not in text and "passed" not in text, text


def begun(terminal: Terminal) -> Screen:
    """A run that stands in a slow statement, with its bar on the screen."""
    terminal.write("migrations/app/002_slow.sql", SLOW)
    screen = Screen(terminal.folder, 80, "migrate", "--tenant", "acme")
    wait_for(lambda: "acme" in screen.raw and "migrate" in screen.raw, "the bar")
    return screen


def test_a_second_ctrl_c_leaves_the_cursor_as_it_was(terminal: Terminal) -> None:
    """The process ends at once, and the next prompt stands on a line of its own."""
    screen = begun(terminal)
    screen.type(b"\x03")
    wait_for(lambda: "once more to stop at once" in screen.raw, "the first to be heard")
    screen.type(b"\x03")
    screen.end(20)
    assert screen.code == 128 + signal.SIGINT
    assert screen.raw.rfind("\x1b[?25l") < screen.raw.rfind("\x1b[?25h")
    assert screen.raw.endswith("\r\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT, signal.SIGHUP])
def test_no_signal_leaves_the_cursor_hidden(terminal: Terminal, number: signal.Signals) -> None:
    """It is never hidden: what ends a process without a word could not show it again."""
    screen = begun(terminal)
    screen.program.send(number)
    screen.end(20)
    assert "\x1b[?25l" not in screen.raw
