"""An archive file: rows as JSON Lines in a zstd frame, then a skippable frame that says what they are.

`zstd -dc FILE` gives the rows. Invariant: a file at its final name is complete,
durable, mode 0600, and holds as many rows, with the hash, as its second frame says.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from ledger import failpoints
from ledger.drivers.folders import sync_folder

SUFFIX: Final = ".jsonl.zst"
SKIPPABLE: Final = 0x184D2A5D
"""One of the magic numbers of a frame that decompressors pass over (RFC 8878, 3.1.2)."""

WINDOW_BYTES: Final = 128 << 20
LINE_BYTES: Final = 256 << 20
CHUNK_BYTES: Final = 1 << 20
LEVEL: Final = 6


class ArchiveMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds: rows of `table` of a tenant older than `before` by `column`.

    `sha256` is over the lines. `ledger` is the id of the ledger under which it was written.
    """

    ledger: str
    tenant: str
    table: str
    column: str
    before: str
    rows: int = 0
    sha256: str = ""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read to its end and holds what it says; `sha256` is over its bytes."""

    path: Path
    meta: ArchiveMeta
    bytes: int
    sha256: str


class ArchiveWriter:
    """Writes one file under a hidden name; `publish` gives it its own. Not for two threads at once."""

    def __init__(self, path: Path) -> None:
        import zstandard

        self.path = path
        self.hidden = path.with_name(f".{path.name}.tmp")
        self.rows = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: BinaryIO = os.fdopen(os.open(self.hidden, flags, 0o600), "wb")
        self._digest = hashlib.sha256()
        self._packed: Any = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()

    def write(self, lines: Sequence[bytes]) -> None:
        """Add rows. Raises OSError."""
        data = b"".join(line + b"\n" for line in lines)
        self.rows += len(lines)
        self._digest.update(data)
        self._file.write(self._packed.compress(data))
        failpoints.reach("backup.half_written")

    def publish(self, meta: ArchiveMeta) -> Verified:
        """End the file, make it durable, read it back, and give it its name. Raises OSError, ValueError."""
        self._file.write(self._packed.flush())
        meta = msgspec.structs.replace(meta, rows=self.rows, sha256=self._digest.hexdigest())
        payload = msgspec.json.encode(meta)
        payload += struct.pack("<I", len(payload))
        self._file.write(struct.pack("<II", SKIPPABLE, len(payload)) + payload)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        found = verify(self.hidden)
        if found.meta != meta:
            raise ValueError(f"{self.hidden} does not read back as it was written")
        failpoints.reach("backup.before_rename")
        # A hard link fails where a rename would replace.
        os.link(self.hidden, self.path, follow_symlinks=False)
        self.hidden.unlink()
        sync_folder(self.path.parent)
        failpoints.reach("backup.after_rename")
        return msgspec.structs.replace(found, path=self.path)

    def discard(self) -> None:
        """Leave nothing behind of a file that was not published. Raises OSError."""
        self._file.close()
        self.hidden.unlink(missing_ok=True)


def read_meta(path: Path) -> ArchiveMeta:
    """The second frame. Raises ValueError if there is none, OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size >= 12:
            file.seek(size - 4)
            (length,) = struct.unpack("<I", file.read(4))
            start = size - 12 - length
            if start >= 0:
                file.seek(start)
                if struct.unpack("<II", file.read(8)) == (SKIPPABLE, length + 4):
                    try:
                        return msgspec.json.decode(file.read(length), type=ArchiveMeta)
                    except msgspec.DecodeError as error:
                        raise ValueError(f"{path} does not end like an archive: {error}") from error
    raise ValueError(f"{path} does not end like an archive")


def verify(path: Path) -> Verified:
    """Read the file to its end. Raises ValueError if it is not what it says, OSError."""
    meta = read_meta(path)
    digest, rows = hashlib.sha256(), 0
    for lines in read_lines(path, batch=10_000):
        rows += len(lines)
        digest.update(b"".join(line + b"\n" for line in lines))
    if (rows, digest.hexdigest()) != (meta.rows, meta.sha256):
        raise ValueError(f"{path} holds {rows} rows that are not the {meta.rows} it was made of")
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
    return Verified(path=path, meta=meta, bytes=path.stat().st_size, sha256=whole)


def read_lines(path: Path, *, batch: int) -> Iterator[list[bytes]]:
    """The rows, without line ends, `batch` at a time. Raises ValueError for a broken file, OSError."""
    import zstandard

    lines: list[bytes] = []
    rest = b""
    unpacked = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    try:
        with path.open("rb") as file, unpacked.stream_reader(file) as reader:
            while chunk := reader.read(CHUNK_BYTES):
                *whole, rest = (rest + chunk).split(b"\n")
                if len(rest) > LINE_BYTES:
                    raise ValueError(f"{path} holds a line of more than {LINE_BYTES} bytes")
                lines += whole
                while len(lines) >= batch:
                    yield lines[:batch]
                    del lines[:batch]
    except zstandard.ZstdError as error:
        raise ValueError(f"{path} cannot be decompressed: {error}") from error
    if rest:
        raise ValueError(f"{path} breaks off in the middle of a row")
    if lines:
        yield lines


def archives_in(folder: Path) -> list[Path]:
    """The folder's archive files, oldest first. Raises OSError."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def sweep(folder: Path) -> None:
    """Remove what a killed run left half-written; under the claim nobody else writes here. Raises OSError."""
    for left in folder.glob(f".*{SUFFIX}.tmp"):
        left.unlink(missing_ok=True)
