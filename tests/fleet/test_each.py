"""One server that does not answer, and tenants elsewhere: whoever is looked at does not wait for it."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.api import Ledger
from ledger.fleet.progress import Progress
from tests.conftest import MakeDatabase
from tests.servers import Server


class Order(Progress):
    """The tenants in the order in which they were done with, and the most at once."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.busy = self.peak = 0

    def tenant_started(self, name: str) -> None:
        """One more at once."""
        self.busy += 1
        self.peak = max(self.peak, self.busy)

    def tenant_finished(
        self, name: str, outcome: str, detail: str, duration_seconds: float
    ) -> None:
        """The next in order."""
        self.busy -= 1
        self.finished.append(name)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as server:
        yield server.getsockname()[1]


CALLS: dict[str, Callable[[Ledger], Awaitable[object]]] = {
    "validate": lambda ledger: ledger.validate(parallel=2),
    "doctor": lambda ledger: ledger.doctor(parallel=2),
    "maintain": lambda ledger: ledger.maintain("*", task="orphans", parallel=2),
    "rehearse": lambda ledger: ledger.rehearse("*", parallel=2),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_does_not_answer_keeps_only_its_own_tenants_waiting(
    silent: int, tmp_path: Path, call: str
) -> None:
    """Its tenants come first by name; the files are done before the first of them is given up."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/001_users.sql").write_text("CREATE TABLE users (id INTEGER);\n")
    (tmp_path / "data").mkdir()
    files = [f"z{number}" for number in range(4)]
    for name in files:
        with closing(sqlite3.connect(tmp_path / f"data/{name}.db")) as database:
            database.execute("CREATE TABLE mine (x)")
    config = tmp_path / "ledger.toml"
    config.write_text(
        'migrations = "migrations"\n[timeouts]\nconnect_seconds = 2\n[[tenants]]\nsqlite = "data/*.db"\n'
    )
    async with Ledger.open(config) as ledger:
        await ledger.migrate()
    with config.open("a") as more:
        more.write(
            f'[[tenants]]\nmysql = "mysql://app@127.0.0.1:{silent}"\n'
            'databases = ["a0", "a1", "a2", "a3", "a4", "a5"]\n'
        )
    order = Order()
    async with Ledger.open(config, progress=order) as ledger:
        await CALLS[call](ledger)
    assert sorted(order.finished[:4]) == files, order.finished
    assert order.peak == 2


async def test_a_limit_of_one_ledger_is_not_anothers(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """In one event loop, after a run that may have one connection, another may have more."""
    url = sql_server.url
    where = f"?unix_socket={url.unix_socket}" if url.unix_socket else ""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/001_sleep.sql").write_text(
        "CREATE TABLE s AS SELECT SLEEP(0.5) AS x;\n"
    )
    peaks = []
    for most in (1, 3):
        names = [make_database(sql_server) for _ in range(3)]
        config = tmp_path / f"ledger{most}.toml"
        config.write_text(
            f'url = "sqlite:///ledger{most}.db"\nmigrations = "migrations"\nbackup = "never"\n'
            f'[[tenants]]\nmysql = "mysql://{url.user}@{url.host}:{url.port}/{where}"\n'
            f'databases = {names!r}\nmax_connections = {most}\npassword_env = "TEST_PASSWORD"\n'
        )
        order = Order()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEST_PASSWORD", sql_server.password)
            async with Ledger.open(config, progress=order) as ledger:
                await ledger.migrate()
        peaks.append(order.peak)
    assert peaks[0] == 1 and peaks[1] > 1
