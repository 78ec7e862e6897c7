"""The raw side: what the database allows to someone who wants nothing but the statements and a marker.

P: stdlib sqlite3, one transaction and a marker row per tenant, in one thread or
several. W: aiomysql, the same statements and a marker per tenant, connections
kept and changed over with USE. A child of `bench.migrate` (see `bench.child`).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiomysql

from bench.child import Orders, Work, serve
from bench.server import PASSWORD_ENV
from bench.workloads import MIGRATION, P, W

MARKER = "CREATE TABLE marker (id VARCHAR(100) NOT NULL PRIMARY KEY, at VARCHAR(40) NOT NULL)"
MARK = f"INSERT INTO marker VALUES ('{MIGRATION}', '2026-01-01T00:00:00Z')"


def migrate_file(path: str, backups: str | None) -> None:
    """One SQLite tenant: the statements and the marker in one transaction."""
    database = sqlite3.connect(path, isolation_level=None)
    try:
        if backups is not None:
            _backup(database, Path(backups) / Path(path).name)
        database.execute("BEGIN IMMEDIATE")
        for statement in P.statements:
            database.execute(statement)
        database.execute(MARKER)
        database.execute(MARK)
        database.execute("COMMIT")
    finally:
        database.close()


def _backup(database: sqlite3.Connection, path: Path) -> None:
    """SQLite's backup API, then the fsyncs that make the copy last: the file's and the folder's."""
    copy = sqlite3.connect(path)
    # The copy is made durable below, at once; SQLite's own syncs would come on top.
    copy.execute("PRAGMA synchronous = OFF")
    database.backup(copy)
    copy.close()
    for one in (path, path.parent):
        descriptor = os.open(one, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _sqlite(orders: Orders) -> Work:
    targets: list[str] = orders["targets"]
    backups: str | None = orders.get("backups")
    threads: int = orders.get("threads", 1)
    if backups is not None:
        Path(backups).mkdir(exist_ok=True)

    def one_thread() -> None:
        for target in targets:
            migrate_file(target, backups)

    def several() -> None:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(migrate_file, target, backups) for target in targets]:
                done.result()

    return one_thread if threads == 1 else several


def _mysql(orders: Orders) -> Work:
    address = {name: value for name, value in orders["server"].items() if value is not None}
    waiting: deque[str] = deque(orders["targets"])

    async def worker() -> None:
        connection = await aiomysql.connect(  # type: ignore[no-untyped-call]
            **address, password=os.environ.get(PASSWORD_ENV, ""), autocommit=True, charset="utf8mb4"
        )
        async with connection.cursor() as cursor:
            while waiting:
                await cursor.execute(f"USE `{waiting.popleft()}`")
                for statement in (*W.statements, MARKER, MARK):
                    await cursor.execute(statement)
        connection.close()

    async def work() -> None:
        await asyncio.gather(*(worker() for _ in range(orders.get("threads", 1))))

    return lambda: asyncio.run(work())


def _statements(orders: Orders) -> Work:
    """Where the raw loop's time goes: printed to stderr as seconds of connect, statements and commit."""
    targets: list[str] = orders["targets"]

    def work() -> None:
        marks = [0.0, 0.0, 0.0, 0.0]
        for path in targets:
            at = [time.perf_counter()]
            database = sqlite3.connect(path, isolation_level=None)
            at.append(time.perf_counter())
            database.execute("BEGIN IMMEDIATE")
            for statement in (*P.statements, MARKER, MARK):
                database.execute(statement)
            at.append(time.perf_counter())
            database.execute("COMMIT")
            at.append(time.perf_counter())
            database.close()
            at.append(time.perf_counter())
            for number in range(4):
                marks[number] += at[number + 1] - at[number]
        Path(orders["times"]).write_text(" ".join(str(mark) for mark in marks))

    return work


def prepare(orders: Orders) -> Work:
    """The loop for the orders' engine."""
    if "times" in orders:
        return _statements(orders)
    return _sqlite(orders) if orders["engine"] == "sqlite" else _mysql(orders)


if __name__ == "__main__":
    serve(prepare)
