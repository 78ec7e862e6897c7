"""What becomes of a SQLite connection whose opening is cut short."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ledger.drivers.sqlite import connect


async def test_a_connection_that_arrives_after_a_cancellation_is_closed(tmp_path: Path) -> None:
    """Left to the collector, it would keep its file and its locks for as long as that takes."""
    path = tmp_path / "tenant.db"
    path.touch()
    arrived: list[sqlite3.Connection] = []
    entered, go_on = threading.Event(), threading.Event()

    def prepare(database: sqlite3.Connection) -> None:
        arrived.append(database)
        entered.set()
        go_on.wait(30)

    async def open_it() -> None:
        async with connect(path, prepare=prepare):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(open_it)
        await anyio.to_thread.run_sync(entered.wait)
        group.cancel_scope.cancel()
        go_on.set()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        arrived[0].execute("SELECT 1")
