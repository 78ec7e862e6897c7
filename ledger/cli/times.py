"""Points in time as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_AGO: Final = re.compile(r"(\d+)\s*(s|m|h|d|w)(?:\s+ago)?")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class TimeType(click.ParamType[str]):
    """`2026-11-21`, `2026-11-21T23:10:04Z`, or `2h`, `3d ago`; becomes UTC, ISO 8601 with `Z`.

    A time without an offset is UTC.
    """

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The time as the ledger writes times."""
        try:
            if ago := _AGO.fullmatch(value.strip()):
                return stamp(datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
            moment = datetime.fromisoformat(value.strip())
            return stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        except (ValueError, OverflowError):  # of what is no time, and of one before the year 1
            self.fail(f"{value!r} is no time: write 2026-11-21T23:10:04Z, 2h or 3d.", param, ctx)


def stamp(moment: datetime) -> str:
    """UTC, ISO 8601 with microseconds and `Z`."""
    # strftime would write the year 999 with three digits.
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


TIME: Final = TimeType()
