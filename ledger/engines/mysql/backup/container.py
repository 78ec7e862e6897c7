"""The backup file: a zstd frame with the SQL, then a skippable frame with what a restore must know.

`zstd -dc FILE | mariadb DATABASE` works too: zstd passes over the second frame.
Invariant: a restore reads no more than the size that was recorded when it was written.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import zstandard

from ledger.engines.work import MarkerEntry

SKIPPABLE: Final = 0x184D2A5E
CHUNK_BYTES: Final = 1 << 20
WINDOW_BYTES: Final = 128 << 20
LEVEL: Final = 3


class BrokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A view's CREATE statement without its database, and the character set it was made under."""

    name: str
    text: str
    charset: str
    collation: str


class Contents(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands behind the SQL: the marker's entries, and how many bytes of SQL there are.

    Of a prefix tenant, `names` are the tables, views, routines … in it, of which `beyond` are no
    part of its schema yet, and `beside` those with its prefix that were there and are not in it. `broken` are
    views that refer to what is not there.
    """

    sql_bytes: int
    covers: str
    fingerprint: str
    entries: tuple[MarkerEntry, ...] = ()
    charset: str = ""
    collation: str = ""
    database: str = ""
    names: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    broken: tuple[BrokenView, ...] = ()


class Writer:
    """Compresses into an open file, counting and hashing what is written. Not for two threads at once."""

    def __init__(self, file: BinaryIO) -> None:
        self.sql_bytes = 0
        self.bytes = 0
        self._file = file
        self._digest = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()

    def write(self, data: bytes) -> None:
        """Add SQL. Raises OSError."""
        self.sql_bytes += len(data)
        self._put(self._compressor.compress(data))

    def finish(self, contents: Contents) -> str:
        """End both frames, bring them to the disk, and return the SHA-256. Raises OSError."""
        self._put(self._compressor.flush())
        payload = msgspec.json.encode(contents)
        payload += struct.pack("<I", len(payload))
        self._put(struct.pack("<II", SKIPPABLE, len(payload)) + payload)
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)


def read_contents(path: Path) -> Contents:
    """The second frame. Raises ValueError if there is none, OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < 12:
            raise ValueError("it is too short to be a backup")
        file.seek(size - 4)
        (length,) = struct.unpack("<I", file.read(4))
        start = size - 4 - length - 8
        if start < 0:
            raise ValueError("it does not end like a backup")
        file.seek(start)
        magic, frame = struct.unpack("<II", file.read(8))
        if magic != SKIPPABLE or frame != length + 4:
            raise ValueError("it does not end like a backup")
        try:
            return msgspec.json.decode(file.read(length), type=Contents)
        except msgspec.DecodeError as error:
            raise ValueError(f"what a restore must know cannot be read: {error}") from error


def read_sql(path: Path, *, limit_bytes: int) -> Iterator[bytes]:
    """The SQL in chunks. Raises ValueError beyond `limit_bytes` or for a broken frame, OSError."""
    seen = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    try:
        with path.open("rb") as file, decompressor.stream_reader(file) as reader:
            while chunk := reader.read(CHUNK_BYTES):
                seen += len(chunk)
                if seen > limit_bytes:
                    raise ValueError(
                        f"it holds more than the {limit_bytes} bytes that were recorded"
                    )
                yield chunk
    except zstandard.ZstdError as error:
        raise ValueError(f"it cannot be decompressed: {error}") from error
    if seen != limit_bytes:
        raise ValueError(f"it holds {seen} bytes of SQL, and {limit_bytes} were recorded")
