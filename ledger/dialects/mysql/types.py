"""Whether a desired column type holds everything that the live one does.

Pure. Both types are as the same server reports them. Invariant: what is not known
to be wider differs, and is left alone.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from ledger.dialects.base import Relation
from ledger.schema import Column

_TYPE: Final = re.compile(r"(?P<base>\w+)(?:\((?P<args>.*)\))?(?P<rest>[^()]*)", re.DOTALL)
_VALUES: Final = re.compile(r"'(?:[^']|'')*'")
_INTEGERS: Final = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
_TEXTS: Final = {"tinytext": 1 << 8, "text": 1 << 16, "mediumtext": 1 << 24, "longtext": 1 << 32}
_BLOBS: Final = {"tinyblob": 1 << 8, "blob": 1 << 16, "mediumblob": 1 << 24, "longblob": 1 << 32}
_CHARACTERS: Final = {"char": 0, "varchar": 1}
_BYTES: Final = {"binary": 0, "varbinary": 1}
_FRACTIONS: Final = frozenset({"datetime", "timestamp", "time"})
_BYTES_A_CHARACTER: Final = 4


class _Type(msgspec.Struct, frozen=True):
    base: str
    args: str
    rest: str

    @property
    def length(self) -> int:
        return int(self.args) if self.args.isdigit() else 0


def relation(live: Column, desired: Column, *, in_key: bool) -> Relation:
    """The desired type beside the live one. The display width of an integer says nothing."""
    if live.type == desired.type:
        return "same"
    old, new = _read(live.type), _read(desired.type)
    if old == new:
        return "same"
    if "GENERATED" in live.extra.upper() or "AS (" in live.extra.upper():
        return "differs"
    return "wider" if _wider(old, new) else "differs"


def _read(text: str) -> _Type:
    match = _TYPE.fullmatch(text.strip())
    if match is None:
        return _Type(text.lower(), "", "")
    base, rest = match["base"].lower(), " ".join(match["rest"].lower().split())
    args = match["args"] or ""
    if base in _INTEGERS and "zerofill" not in rest:
        args = ""
    return _Type(base, args, rest)


def _wider(old: _Type, new: _Type) -> bool:
    if old.base in _INTEGERS and new.base in _INTEGERS:
        return _wider_integer(old, new)
    if old.rest != new.rest:
        return False
    if old.base in ("enum", "set") and new.base == old.base:
        before, after = _VALUES.findall(old.args), _VALUES.findall(new.args)
        return after[: len(before)] == before
    if old.base in ("decimal", "numeric") and new.base == old.base:
        return _wider_decimal(old, new)
    if old.base in _FRACTIONS or old.base == "bit":
        return new.base == old.base and new.length >= old.length
    if (old.base, new.base) == ("float", "double"):
        return not old.args and not new.args
    return _wider_text(old, new)


def _wider_integer(old: _Type, new: _Type) -> bool:
    if old.rest == new.rest:
        return _INTEGERS[new.base] > _INTEGERS[old.base]
    # Every unsigned value has its place in a larger signed type; never the other way round.
    return (old.rest, new.rest) == ("unsigned", "") and _INTEGERS[new.base] > _INTEGERS[old.base]


def _wider_decimal(old: _Type, new: _Type) -> bool:
    def digits(args: str) -> tuple[int, int]:
        whole, _, fraction = args.partition(",")
        return int(whole or 10), int(fraction or 0)

    (before, before_fraction), (after, after_fraction) = digits(old.args), digits(new.args)
    return after_fraction >= before_fraction and after - after_fraction >= before - before_fraction


def _wider_text(old: _Type, new: _Type) -> bool:
    for lengths, large, width in ((_CHARACTERS, _TEXTS, _BYTES_A_CHARACTER), (_BYTES, _BLOBS, 1)):
        if old.base in lengths and new.base in lengths:
            # A binary of a fixed length is filled up: only the one that is not may follow it.
            same_or_varying = lengths[new.base] >= lengths[old.base]
            grows = new.base != "binary" or old.length == new.length
            return same_or_varying and grows and new.length >= old.length
        if old.base in lengths and lengths[old.base] and new.base in large:
            return old.length * width < large[new.base]
        if old.base in large and new.base in large:
            return large[new.base] > large[old.base]
    return False
