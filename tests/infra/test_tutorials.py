"""The tutorials under docs/: every command of theirs is typed, in order, and its output compared.

A `console` block holds commands after `$ ` (a here-document goes on to its last
line) and what they print; `…` stands for anything. A command that is to fail
says so behind it: `# exit 4`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import MakeDatabase
from tests.servers import ROOT, Server, queries

DOCS = ROOT / "docs"
SHOWN_URL = "mysql://wp_user@127.0.0.1:3306/wordpress"
DURATION = r"(?:\d+ (?:h|m) )?[\d.]+ (?:ms|s|m)"
USERS = """
CREATE TABLE wp_users (ID bigint unsigned PRIMARY KEY AUTO_INCREMENT, user_login varchar(60) NOT NULL,
  display_name varchar(250) NOT NULL DEFAULT '', user_email varchar(100) NOT NULL DEFAULT '')
"""


class Typed(NamedTuple):
    """One command, the exit code that it should have, and what it should print."""

    command: str
    code: int
    shown: str
    line: int


def commands(page: Path) -> Iterator[Typed]:
    """All commands of a page's console blocks, in order."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"(?ms)^```console\n(.*?)^```$", text):
        first = text.count("\n", 0, block.start(1)) + 1
        lines = block[1].splitlines()
        at = 0
        while at < len(lines):
            line = first + at
            assert lines[at].startswith("$ "), f"{page.name}:{line}: no command"
            command = [lines[at][2:]]
            at += 1
            if here := re.search(r"<<'(\w+)'", command[0]):
                while command[-1] != here[1]:
                    command.append(lines[at])
                    at += 1
            shown = []
            while at < len(lines) and not lines[at].startswith("$ "):
                shown.append(lines[at])
                at += 1
            code = re.search(r"# exit (\d+)$", command[0])
            yield Typed("\n".join(command), int(code[1]) if code else 0, "\n".join(shown), line)


def matches(shown: str, found: str) -> bool:
    """Whether the output is the one shown; blanks at lines' ends do not count.

    `… ms` is any duration: a busy machine takes seconds.
    """
    lines = "\n".join(line.rstrip() for line in shown.splitlines())
    text = "\n".join(line.rstrip() for line in found.splitlines())
    likes = (".*".join(map(re.escape, part.split("…"))) for part in lines.split("… ms"))
    return re.fullmatch(DURATION.join(likes), text, re.DOTALL) is not None


class Shell:
    """A folder in which a page's commands are typed, with the programs that they name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.replaced: list[tuple[str, str]] = []
        self.variables: dict[str, str] = {}
        self.programs = folder.parent / "programs"
        self.programs.mkdir()
        self.program("ledger", f'exec "{sys.executable}" -m ledger "$@"')

    def program(self, name: str, body: str) -> None:
        """Put a program of this name first on the path."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)

    def require(self, name: str, package: str) -> str:
        """The path of a database client."""
        found = shutil.which(name)
        if found is None:
            pytest.fail(f"{name} is not there. Type: sudo apt-get install {package}")
        return found

    def type(self, page: Path, *, at_least: int = 11) -> None:
        """Type every command of the page and compare; `cd` changes the folder of what follows."""
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            **self.variables,
        }
        typed = list(commands(page))
        assert len(typed) >= at_least
        for one in typed:
            command = one.command
            if command.startswith("cd "):
                self.folder = self.folder / command[3:]
                continue
            for shown, real in self.replaced:
                command = command.replace(shown, real)
            ended = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=100,
            )
            # Progress goes to stderr and is not shown; an error's message is.
            found = ended.stdout if ended.returncode == 0 else ended.stdout + ended.stderr
            for shown, real in self.replaced:
                found = found.replace(real, shown)
            code = ended.returncode if ended.returncode >= 0 else 128 - ended.returncode
            where = f"{page.name}:{one.line}: {one.command}"
            assert code == one.code, f"{where}\n{ended.stdout}{ended.stderr}"
            if one.shown:
                assert matches(one.shown, found) or matches(one.shown, ended.stdout), (
                    f"{where}\nshown:\n{one.shown}\nfound:\n{found}"
                )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in an empty folder beside the two sets."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Shell(folder)


def test_preset_assistants(shell: Shell) -> None:
    """The preset assistants' document, walked from initialising to going back."""
    shell.require("sqlite3", "sqlite3")
    shutil.copytree(
        ROOT / "migrations" / "preset_assistants", shell.folder / "migrations/preset_assistants"
    )
    shell.type(DOCS / "preset-assistants.md")


def test_woo_ai(shell: Shell, mariadb: Server, make_database: MakeDatabase) -> None:
    """The WordPress plugin's document, walked from activation to deployment."""
    shutil.copytree(ROOT / "migrations" / "woo_ai", shell.folder / "migrations/woo_ai")
    database = make_database(mariadb, "woo")
    queries(mariadb, [USERS], database=database)
    url = mariadb.url
    address = f"mysql://{url.user}@{url.host}:{url.port}/{database}"
    login = f"--host={url.host} --port={url.port} --user={url.user}"
    if url.unix_socket:
        address += f"?unix_socket={url.unix_socket}"
        login = f"--socket={url.unix_socket} --user={url.user}"
    shell.replaced = [(SHOWN_URL, address)]
    shell.variables["WP_DB_PASSWORD"] = mariadb.password
    client = shell.require("mariadb", "mariadb-client")
    shell.program(
        "mariadb",
        f'shift; MYSQL_PWD="{mariadb.password}" exec "{client}" --no-defaults {login} {database} "$@"',
    )
    shell.type(DOCS / "woo-ai.md")
