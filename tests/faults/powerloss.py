"""What is found on a disk after its power went: the trace of powerloss.c, and a disk made from it.

A disk keeps each file's content as it is for the processes and as it is on the platter, and
so it does with names. Invariant: what is found was durable, or, where chance is let in, was
at least written: any of its sectors may have made it without a sync, and others not.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import pytest

from tests.servers import ROOT

SECTOR_BYTES: Final = 512
"""What a disk writes as a whole."""

Files = dict[str, bytes]
"""Path -> content."""


class Record(msgspec.Struct, frozen=True):
    """One line of the trace; see powerloss.c for `op`."""

    op: str
    process: int
    path: str
    offset: int
    data: bytes


def trace(
    folder: Path,
    log: Path,
    *arguments: str,
    cwd: Path = ROOT,
    lies: Path | None = None,
    dies_at: int | None = None,
) -> list[Record]:
    """What `python ARGUMENTS` and the processes that it starts do in `folder`; it must succeed.

    With what is in the log already. Syncs of files and folders whose path begins with
    `lies` do nothing; instead of sync number `dies_at` it is killed.
    """
    library = log.parent / "powerloss.so"
    _compile(library)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "POWERLOSS_FOLDER": str(folder),
        "POWERLOSS_LOG": str(log),
    }
    if lies is not None:
        environment["POWERLOSS_LIES"] = str(lies)
    if dies_at is not None:
        environment["POWERLOSS_DIES"] = str(dies_at)
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == (0 if dies_at is None else -signal.SIGKILL), done
    return list(_records(log.read_bytes()))


def _compile(library: Path) -> None:
    if library.exists():
        return
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.fail("the power loss test needs a C compiler: apt-get install gcc", pytrace=False)
    source = Path(__file__).with_name("powerloss.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"],
        check=True,
    )


def _records(content: bytes) -> Iterator[Record]:
    at = 0
    while at < len(content):
        op, process, length = struct.unpack_from("<cII", content, at)
        path = content[at + 9 : at + 9 + length].decode()
        offset, size = struct.unpack_from("<qI", content, at + 9 + length)
        at += 21 + length
        yield Record(op.decode(), process, path, offset, content[at : at + size])
        at += size


def files_in(folder: Path) -> Files:
    """All files below a folder, but what SQLite keeps in shared memory."""
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


class _File:
    """One file, whatever its names: its durable content, and what is written and not synced."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.waiting: list[Record] = []

    def sync(self) -> None:
        for record in self.waiting:
            _apply(self.durable, record)
        self.waiting = []

    def found(self, chance: random.Random | None) -> bytes:
        content = bytearray(self.durable)
        for record in self.waiting if chance is not None else ():
            for piece in _sectors(record):
                if chance is not None and chance.random() < 0.5:
                    _apply(content, piece)
        return bytes(content)


_Entry = _File | None
"""What a name stands for; None for a folder."""

_Renamed = tuple[str, _Entry | Literal[False]]
"""A name and what it stands for now; False once it is gone."""


class Disk:
    """A disk on which `before` is durable. A name is, as POSIX has it, once its folder was synced."""

    def __init__(self, before: Mapping[str, bytes] | None = None) -> None:
        self._seen: dict[str, _Entry] = {p: _File(c) for p, c in (before or {}).items()}
        self._durable: dict[str, _Entry] = dict(self._seen)
        self._waiting: dict[str, list[_Renamed]] = defaultdict(list)
        self._made: set[str] = set()

    def take(self, record: Record) -> None:
        """The next thing that a process did."""
        path = record.path
        if record.op == "C":
            self._rename(path, _File())
        elif record.op == "D":
            self._made.add(path)
            self._rename(path, None)
        elif record.op == "L":
            self._rename(path, self._seen[record.data.decode()])
        elif record.op == "U":
            self._rename(path, False)
        elif record.op in "WT":
            if isinstance(file := self._seen.get(path), _File):
                file.waiting.append(record)
        elif record.op == "S":
            if isinstance(file := self._seen.get(path), _File):
                file.sync()
            for renamed in self._waiting.pop(path, []):
                _rename(self._durable, renamed)
        elif record.op not in "AN":
            raise ValueError(f"what is {record.op}?")

    def _rename(self, path: str, entry: _Entry | Literal[False]) -> None:
        _rename(self._seen, (path, entry))
        self._waiting[os.path.dirname(path)].append((path, entry))  # noqa: PTH120

    def found(self, chance: random.Random | None = None) -> Files:
        """What is there after the power came back; with `chance` some of what was not synced made it."""
        names = dict(self._durable)
        for waiting in self._waiting.values() if chance is not None else ():
            for renamed in waiting:
                if chance is not None and chance.random() < 0.5:
                    _rename(names, renamed)
        return self._contents(names, chance)

    def seen(self) -> Files:
        """What processes see; all is synced by that."""
        for entry in self._seen.values():
            if entry is not None:
                entry.sync()
        return self._contents(self._seen, None)

    def _contents(self, names: Mapping[str, _Entry], chance: random.Random | None) -> Files:
        gone = tuple(path + "/" for path in self._made if path not in names)
        found: dict[int, bytes] = {}
        files: Files = {}
        for path, entry in sorted(names.items()):
            if entry is None or path.endswith("-shm") or path.startswith(gone):
                continue
            if id(entry) not in found:
                found[id(entry)] = entry.found(chance)
            files[path] = found[id(entry)]
        return files


def _rename(names: dict[str, _Entry], renamed: _Renamed) -> None:
    path, entry = renamed
    if entry is False:
        names.pop(path, None)
    else:
        names[path] = entry


def _sectors(record: Record) -> Sequence[Record]:
    if record.op != "W":
        return [record]
    pieces, at, end = [], record.offset, record.offset + len(record.data)
    while at < end:
        until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        data = record.data[at - record.offset : until - record.offset]
        pieces.append(msgspec.structs.replace(record, offset=at, data=data))
        at = until
    return pieces


def _apply(content: bytearray, record: Record) -> None:
    """One write, or one truncation."""
    end = record.offset + len(record.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if record.op == "T":
        del content[record.offset :]
    else:
        content[record.offset : end] = record.data
