"""A row as one line of JSON and back to its key, without losing anything.

Invariant: equal lines mean equal rows. What JSON has no form for is an object with
one member that begins with `$`; no column's plain value is an object.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(dict[str, Any]).decode


def to_line(columns: Sequence[str], row: Sequence[object]) -> bytes:
    """The row as a JSON object, without a line end."""
    return _ENCODE({name: _plain(value) for name, value in zip(columns, row, strict=True)})


def values_of(line: bytes, columns: Sequence[str]) -> tuple[object, ...]:
    """These columns' values, as they are given back to the database."""
    row = _DECODE(line)
    return tuple(_value(row[name]) for name in columns)


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return {"$text": base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()}
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _time(value)
    if isinstance(value, (set, frozenset)):
        return ",".join(sorted(str(member) for member in value))
    raise TypeError(f"a value of type {type(value).__name__} cannot be archived")


def _time(value: timedelta) -> str:
    """As TIME is written; hours may go beyond 24."""
    micros = abs(value) // timedelta(microseconds=1)
    seconds, micros = divmod(micros, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if value < timedelta() else ""
    return f"{sign}{hours:02d}:{minutes:02d}:{seconds:02d}.{micros:06d}"


def _value(value: Any) -> object:
    if not isinstance(value, dict):
        return value
    ((kind, text),) = value.items()
    if kind == "$float":
        return float(text)
    if kind == "$text":
        return base64.b64decode(text).decode("utf-8", "surrogateescape")
    return base64.b64decode(text)
