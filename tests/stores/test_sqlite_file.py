"""A ledger in a file: how it is made, and what is said when the file, or its disk, is not right."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from ledger.drivers.url import SqliteUrl
from ledger.errors import StoreUnavailableError
from ledger.stores import open_store
from ledger.stores.base import Connection, Row
from ledger.stores.store import Store
from tests.servers import ROOT
from tests.stores.ledgers import Place, audit, request, sqlite_place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A file that is not there yet."""
    return sqlite_place(tmp_path)


def file_of(place: Place) -> Path:
    """The ledger's file."""
    assert isinstance(place.url, SqliteUrl)
    return Path(place.url.path)


def seal(folder: Path) -> None:
    """Take away everybody's right to write there."""
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)


async def refusal(place: Place, *, create: bool) -> StoreUnavailableError:
    """What opening, reading and appending says."""
    with pytest.raises(StoreUnavailableError) as caught:
        async with place.open(create=create) as store:
            await audit(store)
            await store.append(request("tenant/a"))
    assert caught.value.hint
    return caught.value


async def test_only_the_owner_can_read_it(place: Place) -> None:
    """The file and what SQLite puts beside it have mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        async with place.open() as store:
            await store.append(request("tenant/a"))
            files = list(file_of(place).parent.iterdir())
            assert len(files) == 3
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


async def test_what_was_told_was_synced(place: Place) -> None:
    """The file is in WAL mode, and the writer syncs at every commit (synchronous = FULL)."""
    async with open_store(SqliteUrl(path=str(file_of(place))), create=True) as store:
        await store.append(request("tenant/a"))
        assert await synchronous(store) == [(2,)]
    assert place.execute("PRAGMA journal_mode") == [("wal",)]


async def synchronous(store: Store) -> list[Row]:
    """The writer's setting."""

    async def ask(connection: Connection, _: bool) -> list[Row]:
        return await connection.execute("PRAGMA synchronous")

    return await store._database.write(ask)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A ledger is made in a folder that exists, or not at all."""
    place = Place(url=SqliteUrl(path=str(tmp_path / "no" / "ledger.db")))
    error = await refusal(place, create=True)
    assert "cannot be made: No such file or directory" in error.message


async def test_a_link_is_not_followed_when_making(tmp_path: Path, place: Place) -> None:
    """A symbolic link put where the ledger shall be makes no file elsewhere."""
    target = tmp_path / "elsewhere.db"
    file_of(place).symlink_to(target)
    await refusal(place, create=True)
    assert not target.exists()


@pytest.mark.parametrize("create", [True, False])
async def test_a_file_that_is_no_database(place: Place, create: bool) -> None:
    """Another file is refused and left as it is."""
    file_of(place).write_bytes(b"This is a diary, not a database.\n" * 100)
    error = await refusal(place, create=create)
    assert "is not a SQLite database" in error.message
    assert "put back a copy" in (error.hint or "")
    assert file_of(place).read_bytes().startswith(b"This is a diary")


@pytest.mark.parametrize("create", [True, False])
async def test_a_database_that_is_no_ledger(place: Place, create: bool) -> None:
    """An application's database is refused, and nothing is made in it."""
    place.execute("CREATE TABLE meta (key, value)", "CREATE TABLE events (x)")
    error = await refusal(place, create=create)
    assert "is a database, but not a ledger" in error.message
    assert "put back a copy" in (error.hint or "")
    assert len(place.execute("SELECT name FROM sqlite_master WHERE type = 'table'")) == 2


async def test_an_empty_file(place: Place) -> None:
    """An empty file is no ledger; making one there is fine."""
    file_of(place).touch()
    assert "is empty" in (await refusal(place, create=False)).message
    async with place.open() as store:
        await store.append(request("tenant/a"))


async def test_a_corrupt_file(place: Place) -> None:
    """A page overwritten with rubbish is said to be corruption, with a hint."""
    async with place.open() as store:
        for index in range(300):
            await store.append(request(f"tenant/{index}", 3))
    path = file_of(place)
    content = bytearray(path.read_bytes())
    content[8192:-4096] = b"\xa5" * (len(content) - 8192 - 4096)
    path.write_bytes(content)
    assert "is corrupt" in (await refusal(place, create=False)).message


async def test_a_ledger_that_is_locked_for_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process' lock is waited for, within a limit; then the error says what holds it up."""
    monkeypatch.setattr("ledger.stores.sqlite.BUSY_SECONDS", 0.5)
    async with place.open() as store:
        with closing(sqlite3.connect(str(file_of(place)), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked by another process"):
                await store.append(request("tenant/a"))
            assert await audit(store) == 0
        assert (await store.append(request("tenant/a")))[0].seq == 1


async def test_a_short_lock_is_waited_for(place: Place) -> None:
    """A lock that is given back in time costs nothing but the wait."""
    async with place.open() as store:
        with closing(sqlite3.connect(str(file_of(place)), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as group:
                group.start_soon(store.append, request("tenant/a"))
                await anyio.sleep(0.6)
                other.execute("ROLLBACK")
        assert await audit(store) == 1


def in_another_process(code: str, *arguments: str) -> dict[str, Any]:
    """Run code that ends by printing JSON, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


FULL_DISK = """
import json, resource, sys, anyio
from ledger.drivers.url import SqliteUrl
from ledger.errors import StoreUnavailableError
from ledger.stores import open_store
from tests.stores.ledgers import audit, request

async def main():
    async with open_store(SqliteUrl(path=sys.argv[1])) as store:
        appended = 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        try:
            for _ in range(10_000):
                appended += len(await store.append(request("tenant/a", 20)))
            message = ""
        except StoreUnavailableError as error:
            message = error.message
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await audit(store) == appended
        appended += len(await store.append(request("tenant/a", 20)))
        print(json.dumps({"message": message, "appended": appended}))

anyio.run(main)
"""


async def test_a_full_disk(place: Place) -> None:
    """No room: a typed error; what was told is there; with room again the same store goes on."""
    async with place.open():
        pass
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    answer = in_another_process(FULL_DISK, str(file_of(place)), str(300 * 1024))
    assert "no room left" in answer["message"] or "cannot be read or written" in answer["message"]
    async with place.open(create=False) as store:
        assert await audit(store) == int(answer["appended"])


READ_ONLY = """
import json, os, sys, anyio
from ledger.drivers.url import SqliteUrl
from ledger.errors import StoreUnavailableError
from ledger.stores import open_store
from tests.stores.ledgers import audit, request

async def main():
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    async with open_store(SqliteUrl(path=sys.argv[1])) as store:
        count = await audit(store)
        try:
            await store.append(request("tenant/a"))
            message = hint = ""
        except StoreUnavailableError as error:
            message, hint = error.message, error.hint
        print(json.dumps({"count": count, "message": message, "hint": hint}))

anyio.run(main)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can look into (pytest's own are the owner's alone)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("left_open", [False, True])
async def test_a_read_only_ledger_can_be_read(
    open_folder: Path,
    left_open: bool,
) -> None:
    """Where neither file nor folder may be written: reading works, appending names the cause."""
    place = sqlite_place(open_folder)
    async with place.open() as store:
        await store.append(request("tenant/a", 3))
        if left_open:
            # The writer is alive: its events are in the WAL, which a reader must not miss.
            seal(open_folder)
            answer = in_another_process(READ_ONLY, str(file_of(place)))
    if not left_open:
        seal(open_folder)
        answer = in_another_process(READ_ONLY, str(file_of(place)))
    assert answer["count"] == 3
    assert "is read-only" in answer["message"]
    assert "writable" in answer["hint"]
