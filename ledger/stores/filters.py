"""A `Filter` as SQL: one set of conditions, two spellings.

Invariant: whatever a filter holds travels as a parameter; a pattern's only
wildcards are `*` and `?`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from ledger.errors import UsageError
from ledger.stores.base import Filter
from ledger.stores.chain import timestamp


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """How a database writes a parameter, a pattern condition on a column, and the pattern itself."""

    mark: str
    like: str
    pattern: Callable[[str], str]


def _sqlite_glob(pattern: str) -> str:
    return pattern.replace("[", "[[]")


def _mysql_like(pattern: str) -> str:
    for literal in "|%_":
        pattern = pattern.replace(literal, "|" + literal)
    return pattern.replace("*", "%").replace("?", "_")


SQLITE: Final = Spelling(mark="?", like="{column} GLOB ?", pattern=_sqlite_glob)
MYSQL: Final = Spelling(mark="%s", like="{column} LIKE %s ESCAPE '|'", pattern=_mysql_like)


def conditions(where: Filter, spelling: Spelling) -> tuple[list[str], list[object]]:
    """The conditions of everything but `after_seq` and `last`, to be joined by AND, and their values.

    Raises UsageError for a time that is none.
    """
    mark = spelling.mark
    parts: list[str] = []
    values: list[object] = []

    def add(part: str, *more: object) -> None:
        parts.append(part)
        values.extend(more)

    if where.until_seq is not None:
        add(f"seq <= {mark}", where.until_seq)
    if where.stream is not None:
        add(f"stream = {mark}", where.stream)
    for column, value in (("tenant", where.tenant), ("run", where.run), ("actor", where.actor)):
        if value is None:
            continue
        if column == "run" and not value.isascii():
            # Runs, like types, are ASCII, and a server would not even compare.
            add("1 = 0")
        elif "*" in value or "?" in value:
            add(spelling.like.format(column=column), spelling.pattern(value))
        else:
            add(f"{column} = {mark}", value)
    if where.types:
        types = [name for name in where.types if name.isascii()] or [""]
        add(f"type IN ({', '.join([mark] * len(types))})", *types)
    if where.since is not None:
        add(f"at >= {mark}", _moment(where.since))
    if where.until is not None:
        add(f"at < {mark}", _moment(where.until))
    return parts, values


def _moment(text: str) -> str:
    """The stored spelling of a time: `10:04Z` and `10:04:00.000000Z` do not sort alike as text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a time",
            hint="Write ISO 8601 in UTC, for example 2026-11-21T23:10:04Z.",
        ) from error
    return timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
