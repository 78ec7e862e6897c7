"""Power loss: a SQLite ledger's writes are replayed without what was never synced.

The writes, syncs and acknowledgements of a real process are traced (powerloss.c). At many
moments the disk is put together as it may be found after the power came back: everything
that was synced, and of the rest nothing, or some of it, in any order.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ledger.drivers.url import SqliteUrl
from ledger.errors import LedgerError
from ledger.stores import open_store
from tests.servers import ROOT
from tests.stores.ledgers import audit, read_all

APPENDS = 160
MOMENTS = 25


class Record(msgspec.Struct, frozen=True):
    """One line of the trace."""

    op: str
    path: str
    offset: int
    data: bytes


def trace(folder: Path, *, lies: bool = False) -> list[Record]:
    """What a process did that appended to a ledger in `folder`; with `lies` its syncs did nothing."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.fail("the power loss test needs a C compiler: apt-get install gcc", pytrace=False)
    library = folder.parent / "powerloss.so"
    source = Path(__file__).with_name("powerloss.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"],
        check=True,
    )
    folder.mkdir()
    log = folder.parent / "trace"
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "POWERLOSS_FOLDER": str(folder),
        "POWERLOSS_LOG": str(log),
    }
    if lies:
        environment["POWERLOSS_LIES"] = "1"
    url = str(SqliteUrl(path=str(folder / "ledger.db")))
    command = [sys.executable, "-m", "tests.stores.worker", url, "s", str(APPENDS), "4"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return list(records(log.read_bytes()))


def records(content: bytes) -> Iterator[Record]:
    """The trace, read."""
    at = 0
    while at < len(content):
        op = chr(content[at])
        (length,) = struct.unpack_from("<I", content, at + 1)
        path = content[at + 5 : at + 5 + length].decode()
        offset, size = struct.unpack_from("<qI", content, at + 5 + length)
        at += 17 + length
        yield Record(op, path, offset, content[at : at + size])
        at += size


class Disk:
    """Files as they are for the process, and as they are on the platter."""

    def __init__(self) -> None:
        self.durable: dict[str, bytearray] = {}
        self.waiting: dict[str, list[Record]] = defaultdict(list)
        self.acknowledged: list[int] = []

    def take(self, record: Record) -> None:
        """The next thing that the process did."""
        if record.op == "A":
            self.acknowledged += [int(word) for word in record.data.split()]
        elif record.op in "WT":
            self.waiting[record.path].append(record)
        elif record.op == "S":
            content = self.durable.setdefault(record.path, bytearray())
            for one in self.waiting.pop(record.path, []):
                apply(content, one)
        elif record.op == "U":
            self.durable.pop(record.path, None)
            self.waiting.pop(record.path, None)

    def found(self, chance: random.Random | None) -> dict[str, bytes]:
        """What is found after the power came back; with `chance` some unsynced writes made it."""
        files = {path: bytearray(content) for path, content in self.durable.items()}
        if chance is not None:
            for path, writes in self.waiting.items():
                content = files.setdefault(path, bytearray())
                for one in writes:
                    if chance.random() < 0.5:
                        apply(content, one)
        return {path: bytes(content) for path, content in files.items()}


def apply(content: bytearray, record: Record) -> None:
    """One write, or one truncation."""
    end = record.offset + len(record.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if record.op == "T":
        del content[record.offset :]
    else:
        content[record.offset : end] = record.data


async def survives(disk: Disk, chance: random.Random | None, folder: Path) -> bool:
    """Whether the ledger opens, its chain holds, and every acknowledged event is there."""
    folder.mkdir()
    for path, content in disk.found(chance).items():
        if not path.endswith("-shm"):
            (folder / Path(path).name).write_bytes(content)
    try:
        url = SqliteUrl(path=str(folder / "ledger.db"))
        async with open_store(url, create=False) as store:
            found = {event.seq for event in await read_all(store)}
            await audit(store)
    except LedgerError:
        return False
    finally:
        shutil.rmtree(folder)
    return set(disk.acknowledged) <= found


async def lost_at(trace: list[Record], folder: Path) -> list[int]:
    """At how many acknowledged events something of them was lost."""
    chance = random.Random(1)
    ends = [index for index, record in enumerate(trace) if record.op == "A"]
    moments = set(chance.sample(ends, MOMENTS - 5)) | set(ends[-5:])
    disk, lost = Disk(), []
    for index, record in enumerate(trace):
        disk.take(record)
        if index in moments:
            for number, some in enumerate((None, chance)):
                if not await survives(disk, some, folder / f"found-{index}-{number}"):
                    lost.append(len(disk.acknowledged))
    return lost


@pytest.mark.fault(9)
async def test_no_acknowledged_event_is_lost(tmp_path: Path) -> None:
    """Whenever the power goes: what was told to a caller is there, and the chain holds."""
    done = trace(tmp_path / "sqlite")
    assert sum(record.op == "S" for record in done) >= APPENDS // 8
    assert await lost_at(done, tmp_path) == []


@pytest.mark.fault(9)
async def test_without_syncs_events_are_lost(tmp_path: Path) -> None:
    """The negative control: where syncs do nothing, this very test finds the loss."""
    assert await lost_at(trace(tmp_path / "sqlite", lies=True), tmp_path) != []
