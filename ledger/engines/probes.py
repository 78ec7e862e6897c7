"""What an engine finds in a tenant without writing to it: `ledger doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ledger.engines.work import Marker

SHOWN: Final = 3
"""How many findings of a kind a probe quotes."""

Level = Literal["ok", "warning", "failed"]


class Probe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was checked. `failed`: a run would fail or data is not sound; `warning`: it may.

    `detail` says what was found, `hint` what to do.
    """

    check: str
    level: Level = "ok"
    detail: str = ""
    hint: str = ""


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as it was found. `applied` are `set/version` ids of its marker, `ledger` is the id of its ledger.

    Both are None where the marker could not be read; `ledger` is empty before the first migration.
    """

    probes: tuple[Probe, ...]
    applied: frozenset[str] | None = None
    ledger: str | None = None
    epoch: int = 0


def quoted(findings: Sequence[str], *, by: str = "; ") -> str:
    """The first findings, and how many more there are."""
    more = f" and {len(findings) - SHOWN} more" if len(findings) > SHOWN else ""
    return by.join(findings[:SHOWN]) + more


def probed(probes: Sequence[Probe], marker: Marker | Exception, *, table: str) -> Probed:
    """The probes and one of the marker, or of why it cannot be read."""
    if isinstance(marker, Exception):
        hint = f"Compare the table {table} with a backup's; `ledger restore --tenant NAME` brings one back."
        unread = Probe(check="marker", level="failed", detail=str(marker), hint=hint)
        return Probed(probes=(*probes, unread))
    applied = frozenset(entry.ref.id for entry in marker.entries if entry.state == "applied")
    detail = f"{len(applied)} applied, epoch {marker.epoch}" if marker.epoch else "none yet"
    return Probed(
        probes=(*probes, Probe(check="marker", detail=detail)),
        applied=applied,
        ledger=marker.ledger,
        epoch=marker.epoch,
    )
