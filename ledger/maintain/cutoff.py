"""Which rows are old enough to archive, read from the request (pure)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ledger.errors import UsageError
from ledger.requests import Maintain

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE: Final = re.compile(r"(\d+)\s*([smhdw])")


class Cutoff(msgspec.Struct, frozen=True, kw_only=True):
    """Old are the rows of `table` whose `column` holds a time before `before`."""

    table: str
    column: str
    before: datetime


def cutoff_of(request: Maintain, now: datetime) -> Cutoff | None:
    """What an archive calls old; None for other tasks. Raises UsageError for what does not fit the task."""
    table, column, older_than = request.table, request.column, request.older_than
    if request.task != "archive":
        named = {"--table": table, "--column": column, "--older-than": older_than}
        given = [option for option, value in named.items() if value]
        if given:
            raise UsageError(f"{given[0]} is for --task archive")
        return None
    if not table or not column or not older_than:
        raise UsageError(
            "an archive needs a table, a column and an age",
            hint="Write --table TABLE --column COLUMN --older-than 90d.",
        )
    age = _age(older_than)
    try:
        return Cutoff(table=table, column=column, before=now - age)
    except OverflowError as error:
        raise UsageError(f"{older_than!r} is before the first date that can be written") from error


def _age(text: str) -> timedelta:
    """`90d`, `12h`, `2w`, `30m`, `10s`. Raises UsageError."""
    match = _AGE.fullmatch(text.strip().lower())
    if match is None or not int(match[1]):
        raise UsageError(
            f"{text!r} is not an age", hint="Write a number and s, m, h, d or w, such as 90d."
        )
    try:
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    except OverflowError as error:
        raise UsageError(f"{text!r} is before the first date that can be written") from error
