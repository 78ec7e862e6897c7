"""No command on one tenant walks the whole ledger: every statement it sends, as the database would run it."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.api import Ledger
from ledger.stores.sqlite import FileDatabase
from tests.fleet.world import Fleet


async def _history(ledger: Ledger) -> list[str]:
    return [row.type async for row in ledger.history("t0", limit=2)]


COMMANDS: dict[str, Callable[[Ledger], Awaitable[Any]]] = {
    "status": lambda ledger: ledger.status("t0"),
    "plan": lambda ledger: ledger.plan("t0"),
    "migrate": lambda ledger: ledger.migrate("t0"),
    "validate": lambda ledger: ledger.validate("t0"),
    "stats": lambda ledger: ledger.stats("t0"),
    "history": _history,
    "runs": lambda ledger: ledger.runs(limit=1),
}


def walks(file: Path, sent: Sequence[tuple[str, Sequence[object]]]) -> list[str]:
    """Those of the statements that read all events, by a plan or by beginning at the first one."""
    found = []
    with closing(sqlite3.connect(file)) as database:
        for sql, values in sent:
            if not sql.lstrip().upper().startswith("SELECT"):
                continue
            for *_, step in database.execute("EXPLAIN QUERY PLAN " + sql, list(values)):
                from_first = "events USING INTEGER PRIMARY KEY (rowid>?)" in step and 0 in values
                if step.startswith("SCAN events") or from_first:
                    found.append(f"{step}: {sql} {values}")
    return found


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_on_one_tenant_reads_no_others_events(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from what a connection is given, in its own thread."""
    fleet = Fleet(tmp_path, tenants=3)
    await fleet.open().migrate()
    fleet.run("t0", "CREATE TABLE mine (id)")
    await fleet.open().migrate("t0")
    sent: list[tuple[str, Sequence[object]]] = []
    fetch = FileDatabase.fetch

    async def watched(self: FileDatabase, sql: str, values: Sequence[object]) -> Any:
        sent.append((sql, values))
        return await fetch(self, sql, values)

    monkeypatch.setattr(FileDatabase, "fetch", watched)
    await COMMANDS[command](fleet.open())
    assert sent
    assert walks(tmp_path / "ledger.db", sent) == []


async def test_a_walk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By this test's own measure, in a command that asks for everything."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    sent = [("SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (0, 10))]
    assert walks(tmp_path / "ledger.db", sent)
    assert walks(tmp_path / "ledger.db", [("SELECT count(body) FROM events", ())])
