"""The forward migration of the ledger's own tables.

Invariant: a ledger of an older schema is brought forward when it is opened, one
number at a time and in order; a newer one is never written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ledger.errors import ChainBrokenError, NewerLedgerError, StoreError

SCHEMA_KEY: Final = "schema"
ID_KEY: Final = "ledger_id"
CREATED_KEY: Final = "created_at"
PROJECTION_KEY: Final = "projection_seq:"
"""Keys of `meta`. The last is followed by a projection's name; the value is the seq it stands at."""


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """What brings a ledger from schema `to - 1` to `to`: plain statements, without parameters."""

    to: int
    statements: tuple[str, ...]


SQLITE_UPGRADES: Final[tuple[Upgrade, ...]] = ()
MYSQL_UPGRADES: Final[tuple[Upgrade, ...]] = ()


def pending(found: int, target: int, upgrades: Sequence[Upgrade]) -> tuple[Upgrade, ...]:
    """The upgrades that lead from `found` to `target`; none for a newer ledger.

    Raises StoreError if a number between them has no upgrade.
    """
    by_number = {upgrade.to: upgrade for upgrade in upgrades}
    needed = range(found + 1, target + 1)
    missing = [number for number in needed if number not in by_number]
    if missing:
        raise StoreError(
            f"the ledger has schema {found}, and there is no way from it to schema {missing[0]}",
            hint="Use a version of migration-ledger that still knows this ledger.",
        )
    return tuple(by_number[number] for number in needed)


def projection_seq(value: object) -> int:
    """The seq of a projection, from `meta`. Raises ChainBrokenError for what no store wrote."""
    text = str(value)
    if text.isascii() and text.isdigit():
        return int(text)
    raise ChainBrokenError(
        f"the seq of the stored projections cannot be read: {text!r}",
        seq=0,
        hint="`ledger verify --rebuild` replaces them by a replay of the events.",
    )


def refuse_newer(found: int, known: int) -> None:
    """Raise NewerLedgerError if the ledger's tables are newer than this version knows."""
    if found > known:
        raise NewerLedgerError(
            f"the ledger has schema {found}; this version knows schema {known} and may only read it",
            hint="Upgrade migration-ledger on this host.",
        )
