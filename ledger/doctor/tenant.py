"""One tenant checked for `doctor`: what its engine finds, and whether its marker fits the ledger.

Nothing is written, neither to the tenant nor to the ledger, and no claim is needed.
"""

from __future__ import annotations

import msgspec

from ledger.engines.base import Engine, Target
from ledger.engines.entries import FOREIGN_HINT
from ledger.engines.probes import Level, Probe, Probed
from ledger.errors import LedgerError
from ledger.projections import TenantState


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one tenant. `fine` is true when no probe failed; a warning is no failure."""

    tenant: str
    engine: str
    probes: tuple[Probe, ...]

    @property
    def fine(self) -> bool:
        """Whether nothing failed."""
        return all(probe.level != "failed" for probe in self.probes)


async def check_tenant(
    engine: Engine, target: Target, state: TenantState, ledger_id: str, *, quick: bool
) -> Checked:
    """Every probe of the tenant; one that cannot be reached has one that says so.

    `ledger_id` is empty where the ledger itself could not be read: then there is nothing to compare.
    """
    try:
        found = await engine.probe(target, quick=quick)
    except LedgerError as error:
        probes: tuple[Probe, ...] = (
            Probe(check="connection", level="failed", detail=error.message, hint=error.hint),
        )
    else:
        probes = (Probe(check="connection", detail=str(target.url)), *found.probes)
        if ledger_id:
            probes += _compare(found, state, ledger_id)
    return Checked(tenant=target.name, engine=target.engine, probes=probes)


def _compare(found: Probed, state: TenantState, ledger_id: str) -> tuple[Probe, ...]:
    if found.applied is None:
        return ()
    if found.ledger not in ("", ledger_id):
        return (
            Probe(
                check="agreement",
                level="failed",
                detail=f"its marker belongs to another ledger ({found.ledger})",
                hint=FOREIGN_HINT,
            ),
        )
    recorded = frozenset(ref.id for ref in state.applied)
    if recorded == found.applied:
        return (Probe(check="agreement", detail="marker and ledger agree"),)
    parts = [
        f"{words} {', '.join(sorted(names))}"
        for words, names in (
            ("only the ledger has", recorded - found.applied),
            ("only the tenant has", found.applied - recorded),
        )
        if names
    ]
    # A run that works on it now, or was killed, is no disagreement: the next one settles it.
    level: Level = "warning" if state.claim is not None else "failed"
    return (
        Probe(
            check="agreement",
            level=level,
            detail="; ".join(parts),
            hint="One of them was restored from an older copy; the next `ledger migrate --tenant NAME` believes"
            " the tenant.",
        ),
    )
