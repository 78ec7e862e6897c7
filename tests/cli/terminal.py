"""A command line in a folder of its own: what was typed, what came out, how it ended.

Invariant: no command ever prints a traceback or the canary password, whatever
a test does to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.cli import invoke
from tests import programs
from tests.programs import LEDGER, Ended

CANARY = "c4n4ry-p4ssw0rd"


class Terminal:
    """Runs `ledger` in `folder`: in this process by `run`, in one of its own by `start`."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(folder)

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run a command to its end."""
        with self._monkeypatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = invoke(arguments)
        captured = self._capsys.readouterr()
        return checked(Ended(code, captured.out, captured.err))

    def ok(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run a command that must end with 0."""
        ended = self.run(*arguments, env=env)
        assert ended.code == 0, ended
        return ended

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run a command in a process of its own."""
        return checked(programs.run(LEDGER, *arguments, cwd=self.folder, environment=env))

    def write(self, name: str, text: str) -> Path:
        """Write a file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def checked(ended: Ended) -> Ended:
    """Hold every command to what no command may print."""
    everything = ended.out + ended.err
    assert "Traceback" not in everything, everything
    assert CANARY not in everything
    return ended


def sqlite_rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query, read by sqlite3 itself."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def sqlite_run(path: Path, *statements: str) -> None:
    """Run statements by sqlite3 itself; makes the file if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)
