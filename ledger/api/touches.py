"""What the migrations of prefix tenants touch: read once for all that share variables and folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from ledger.engines.base import Target
from ledger.errors import LedgerError
from ledger.plan import Catalogue
from ledger.runner.kept import kept_migration
from ledger.scripts.touching import Touched, touched_by

if TYPE_CHECKING:
    from ledger.api.opened import Chosen
    from ledger.runner.context import RunContext


class Touches:
    """By migration id, for a catalogue and variables. Not to outlive the call: identity tells catalogues apart."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, tuple[tuple[str, str], ...]], Mapping[str, Touched]] = {}

    def of(self, target: Target, catalogue: Catalogue) -> Mapping[str, Touched]:
        """What the catalogue's migrations touch in this tenant, `{prefix}` left in."""
        others = {name: value for name, value in target.variables.items() if name != "prefix"}
        key = (id(catalogue), tuple(sorted(others.items())))
        if key not in self._known:
            self._known[key] = {one.id: touched_by(one, others) for one in catalogue.order}
        return self._known[key]


async def with_kept(ctx: RunContext, chosen: Chosen) -> Chosen:
    """The chosen tenants, with what those applied migrations touch of which no file is left."""
    found: dict[str, Mapping[str, Touched]] = {}
    for target in chosen.targets:
        if not target.prefix:
            continue
        more: dict[str, Touched] = {}
        catalogue = chosen.catalogues[target.name]
        for ref in ctx.state(target.name).applied:
            name = f"{ref.set}/{ref.version}"
            if name not in target.touches:
                try:
                    migration = await kept_migration(ctx, ref, target.engine, catalogue)
                except LedgerError:
                    # Its tables are then not known to be the tenant's, which a restore says by name.
                    continue
                more[name] = touched_by(migration, target.variables)
        if more:
            found[target.name] = {**target.touches, **more}
    targets = tuple(
        msgspec.structs.replace(one, touches=found[one.name]) if one.name in found else one
        for one in chosen.targets
    )
    return msgspec.structs.replace(chosen, targets=targets) if found else chosen
