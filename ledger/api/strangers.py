"""Tenants that another ledger has migrated: never taken for new ones.

A wrong or deleted ledger knows nothing of its tenants, and a copied tenant is unknown to the right
one. Only tenants are looked at for which this ledger has never ended anything, so that a fleet
that is known costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger.api.discovery import Engines
from ledger.engines.base import Target
from ledger.engines.entries import FOREIGN_HINT, foreign
from ledger.errors import ForeignLedgerError, WrongLedgerError
from ledger.projections import FleetState

NAMES_SHOWN = 5


class Stranger(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant whose marker names the ledger `owner`, and not the one at hand."""

    tenant: str
    owner: str
    error: ForeignLedgerError


async def find_strangers(
    engines: Engines, targets: Sequence[Target], fleet: FleetState, ledger_id: str
) -> tuple[Stranger, ...]:
    """Those of `targets` that the ledger does not know and another one does, in their order."""
    unknown: dict[str, list[Target]] = {}
    for target in targets:
        if fleet.tenant(target.name).mark is None:
            unknown.setdefault(target.engine, []).append(target)
    owners: dict[str, str] = {}
    for name, group in unknown.items():
        owners |= await engines[name].owners(group)
    return tuple(
        Stranger(
            tenant=target.name, owner=owner, error=foreign(owner, ledger_id, tenant=target.name)
        )
        for target in targets
        if (owner := owners.get(target.name, ledger_id)) != ledger_id
    )


def wrong_ledger(
    strangers: Sequence[Stranger], *, total: int, ledger: str, missing: bool = False
) -> WrongLedgerError:
    """What to say of them before anything else, with the likely cause first."""
    names = [one.tenant for one in strangers]
    shown = ", ".join(names[:NAMES_SHOWN]) + (" …" if len(names) > NAMES_SHOWN else "")
    owners = sorted({one.owner for one in strangers})
    which = f"another ledger ({owners[0]})" if len(owners) == 1 else f"{len(owners)} other ledgers"
    belong = "belongs" if len(names) == 1 else "belong"
    here = f"there is no ledger at {ledger}" if missing else f"{ledger} knows nothing of them"
    return WrongLedgerError(
        f"{len(names):,} of {total:,} tenants ({shown}) {belong} to {which}, and {here}",
        hint=FOREIGN_HINT,
    )
