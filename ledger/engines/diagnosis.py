"""What an engine finds when it looks at a tenant without touching it: `ledger doctor`."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "failed"]


class Probe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was looked at. `failed`: a run would fail or data is not sound; `warning`: it may.

    `detail` says what was found, `hint` what to do.
    """

    check: str
    level: Level = "ok"
    detail: str = ""
    hint: str = ""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as it was found. `applied` are `set/version` ids of its marker, `ledger` whose it is.

    Both are None where the marker could not be read; `ledger` is empty where nobody has migrated it.
    """

    probes: tuple[Probe, ...]
    applied: frozenset[str] | None = None
    ledger: str | None = None
    epoch: int = 0
