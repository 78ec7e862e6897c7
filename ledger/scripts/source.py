"""A migration file's bytes, made into text that means the same on every machine.

Invariant: a BOM and the kind of line ends change neither the text nor the
checksum; what cannot be text (NUL, invalid UTF-8, UTF-16) is refused with its line.
"""

from __future__ import annotations

import codecs
import hashlib
import hmac
from typing import Final

import msgspec

from ledger.dialects import NAMES, dialect_of
from ledger.dialects.base import HEAD_CHARACTERS
from ledger.errors import ScriptError

ALGORITHM: Final = "sha256"
"""The name of the checksum's algorithm: SHA-256 over the bytes, BOM and line ends normalised."""


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as text. `file` is what errors name; `checksum` is SHA-256, in hex, over `text`."""

    file: str
    text: str
    checksum: str


def read_source(data: bytes, *, file: str) -> SourceFile:
    """Decode and normalise a file. Raises ScriptError with file and line."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0\0" in (
        data[1:4:2],
        data[0:3:2],
    ):
        head = data[: 2 * HEAD_CHARACTERS]
        heads = [head.decode(f"utf-16-{end}", "replace") for end in ("le", "be")]
        raise ScriptError(
            "the file is UTF-16",
            file=file,
            line=1,
            hint=next(
                (
                    hint
                    for name in NAMES
                    for each in heads
                    if (hint := dialect_of(name).dump_hint(each, wide=True))
                ),
                "Save it as UTF-8 and try again.",
            ),
        )
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if (nul := data.find(b"\0")) >= 0:
        raise ScriptError(
            "the file holds a NUL byte",
            file=file,
            line=data.count(b"\n", 0, nul) + 1,
            hint=_hint(data, nul, "Write binary data as a hexadecimal literal, X'…'."),
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ScriptError(
            f"the file is not UTF-8: byte 0x{data[error.start]:02x}",
            file=file,
            line=data.count(b"\n", 0, error.start) + 1,
            hint=_hint(data, error.start, "Save it as UTF-8 and try again."),
        ) from error
    return SourceFile(file=file, text=text, checksum=hashlib.sha256(data).hexdigest())


def _hint(data: bytes, position: int, otherwise: str) -> str:
    """What to do about bytes that are no text: a dump that has them must be taken anew."""
    line = data[data.rfind(b"\n", 0, position) + 1 : position].decode("latin-1")
    head = data[:HEAD_CHARACTERS].decode("latin-1")
    hints = (dialect_of(name).dump_hint(head, line=line) for name in NAMES)
    return next(filter(None, hints), otherwise)


def checksum_matches(expected: str, data: bytes, *, text: str | None = None) -> bool:
    """Whether a version.json's checksum is that of these bytes.

    MD5 (32 hex digits) and SHA-256 (64), distinguished by length; an algorithm's
    name and a colon may stand before. Over the bytes as they are, or normalised,
    or over `text`: what the placeholders made of it. False for any other form.
    """
    name, _, digest = expected.strip().lower().rpartition(":")
    algorithm = {32: "md5", 64: "sha256"}.get(len(digest))
    if algorithm is None or name not in ("", algorithm):
        return False
    normal = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    texts = [data, normal] if text is None else [data, normal, text.encode()]
    return any(
        hmac.compare_digest(
            hashlib.new(algorithm, candidate, usedforsecurity=False).hexdigest(), digest
        )
        for candidate in texts
    )
