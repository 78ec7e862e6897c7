"""Where a password comes from: commands and pipes that take their time, and who waits for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from ledger.api import Ledger
from ledger.config import Config, load_config
from ledger.drivers import secrets
from ledger.drivers.mysql import connect
from ledger.drivers.secrets import Secrets, read_secret
from ledger.drivers.url import SecretSource
from ledger.errors import ConfigError
from tests.conftest import MakeDatabase
from tests.servers import Server

THREAD_SECONDS = 40


@pytest.fixture(params=["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def server(request: pytest.FixtureRequest) -> Server:
    """Each kind of server in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


def command(folder: Path, server: Server, *, seconds: float = 0.3) -> tuple[str, ...]:
    """A password command that takes a while, and leaves a line each time that it is run."""
    script = folder / "password.sh"
    script.write_text(
        f"#!/bin/sh\necho asked >> {folder}/asked\nsleep {seconds}\nprintf %s '{server.password}'\n"
    )
    script.chmod(0o700)
    return (str(script),)


def asked(folder: Path) -> int:
    """How often the command was run."""
    return len((folder / "asked").read_text().splitlines())


def configuration(
    folder: Path, server: Server, names: list[str], password: tuple[str, ...]
) -> Config:
    """These databases as tenants, with one migration."""
    (folder / "migrations").mkdir()
    (folder / "migrations/001_users.sql").write_text("CREATE TABLE users (id INT PRIMARY KEY);\n")
    socket = f"?unix_socket={server.url.unix_socket}" if server.url.unix_socket else ""
    (folder / "ledger.toml").write_text(
        f'migrations = "migrations"\nbackup = "never"\n[[tenants]]\ndatabases = {names!r}\n'
        f'mysql = "mysql://{server.url.user}@{server.url.host}:{server.url.port}/{socket}"\n'
        f"password_command = {list(password)!r}\n"
    )
    return load_config(folder / "ledger.toml")


def in_threads(*works: Callable[[], Awaitable[object]]) -> list[object]:
    """Each in a thread with an event loop of its own, at the same time; what they gave."""
    results: list[object] = [None] * len(works)

    def one(number: int) -> None:
        results[number] = anyio.run(works[number])

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(THREAD_SECONDS)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return results


@pytest.mark.parametrize("shared", ["one Ledger", "one configuration"])
def test_event_loops_in_several_threads_ask_each_for_itself(
    server: Server, make_database: MakeDatabase, tmp_path: Path, shared: str
) -> None:
    """Neither waits for the other's loop, whether they share a configuration or a Ledger."""
    names = [make_database(server) for _ in range(4)]
    config = configuration(tmp_path, server, names, command(tmp_path, server))
    ledger = Ledger.open(config)

    async def migrate() -> set[str]:
        mine = ledger if shared == "one Ledger" else Ledger.open(config)
        report = await mine.migrate()
        return {one.result for one in report.outcomes}

    for results in in_threads(migrate, migrate):
        assert isinstance(results, set) and results <= {"migrated", "current"}


async def test_an_answer_is_kept_as_long_as_the_ledger_is_open(
    server: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """All tenants and calls of one open Ledger ask once; the next one asks again."""
    names = [make_database(server) for _ in range(3)]
    config = configuration(tmp_path, server, names, command(tmp_path, server))
    for times in (1, 2):
        async with Ledger.open(config) as ledger:
            await ledger.migrate()
            assert (await ledger.validate()).valid
        assert asked(tmp_path) == times


async def test_what_a_command_takes_is_no_time_of_the_connection(
    server: Server, tmp_path: Path
) -> None:
    """A person may need longer for a key than a server for a handshake."""
    source = SecretSource(command=command(tmp_path, server, seconds=1.5), kept=Secrets())
    async with connect(server.url, source, connect_seconds=1) as connection:
        assert await connection.fetch("SELECT 1") == [(1,)]


async def test_a_command_that_fails_is_run_once_for_all_that_wait(tmp_path: Path) -> None:
    """Each of them gets its error, not the next try after it."""
    script = tmp_path / "fails.sh"
    script.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\nsleep 0.3\nexit 7\n")
    script.chmod(0o700)
    source = SecretSource(command=(str(script),), kept=Secrets())
    errors: list[str] = []

    async def ask() -> None:
        with pytest.raises(ConfigError) as caught:
            await read_secret(source)
        errors.append(caught.value.message)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
    assert asked(tmp_path) == 1 and len(errors) == 8 and "exit code 7" in errors[0]


async def test_whoever_waits_goes_on_when_the_one_that_asked_is_cancelled(tmp_path: Path) -> None:
    """Another of them asks then."""
    script = tmp_path / "slow.sh"
    script.write_text("#!/bin/sh\nsleep 0.5\nprintf word\n")
    script.chmod(0o700)
    source = SecretSource(command=(str(script),), kept=Secrets())
    async with anyio.create_task_group() as group:
        first = anyio.CancelScope()

        async def cancelled() -> None:
            with first:
                await read_secret(source)

        group.start_soon(cancelled)
        await anyio.sleep(0.1)

        async def waits() -> None:
            secret = await read_secret(source)
            assert secret is not None and secret.reveal() == "word"

        group.start_soon(waits)
        await anyio.sleep(0.1)
        first.cancel()


async def test_a_pipe_that_nothing_is_written_into_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named; one that is written into late is read to its end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = SecretSource(file=str(pipe))

    def write() -> None:
        with pipe.open("w") as file:
            for part in ("wo", "rd\n"):
                file.write(part)
                file.flush()

    threading.Timer(0.3, write).start()
    secret = await read_secret(source)
    assert secret is not None and secret.reveal() == "word"
    monkeypatch.setattr(secrets, "FILE_SECONDS", 0.5)
    with pytest.raises(ConfigError, match="pipe cannot be read: nothing was written into it"):
        await read_secret(source)
