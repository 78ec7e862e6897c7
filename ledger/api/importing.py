"""`import`: taking over from another migration tool, over many tenants."""

from __future__ import annotations

import difflib

from ledger.api.opened import Chosen, Opened
from ledger.api.running import run_call
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.fleet.progress import Progress
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds
from ledger.plan import Catalogue
from ledger.runner.context import RunContext
from ledger.runner.importing import Asked, Importing, import_tenant, plan_import_tenant
from ledger.runner.outcome import Outcome
from ledger.scripts.foreign import SOURCES
from ledger.scripts.placeholders import validate_identifier_value


def require_known(asked: Asked, chosen: Chosen) -> None:
    """Raises UsageError for a tool, a table or a set that cannot be."""
    if asked.tool not in SOURCES:
        near = difflib.get_close_matches(asked.tool, SOURCES, n=1)
        raise UsageError(
            f"no tool {asked.tool!r} is known",
            hint=(f"Did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(SOURCES)}.",
        )
    validate_identifier_value("table", asked.table or "", source="--table")
    if asked.registry is not None and ("/" in asked.registry or "`" in asked.registry):
        raise UsageError(
            f"--registry {asked.registry!r} is not a database's or a file's name",
            hint="Name a database of the same server, or a file beside the tenant's.",
        )
    if any(target.server for target in chosen.targets):
        validate_identifier_value("registry", asked.registry or "", source="--registry")
    sets = {one.name for catalogue in chosen.catalogues.values() for one in catalogue.sets}
    if asked.set_name is not None and asked.set_name not in sets:
        raise UsageError(
            f"no set is named {asked.set_name!r}", hint=f"There are: {', '.join(sorted(sets))}."
        )


async def plan_import(
    ctx: RunContext, ready: Opened, chosen: Chosen, asked: Asked
) -> tuple[Importing, ...]:
    """What an import would count as applied on each tenant; touches nothing."""
    require_known(asked, chosen)
    return tuple(
        [
            await plan_import_tenant(
                ctx, ready.engines[target.engine], target, chosen.catalogues[target.name], asked
            )
            for target in chosen.targets
        ]
    )


async def import_history(
    ctx: RunContext, ready: Opened, chosen: Chosen, bounds: Bounds, progress: Progress, asked: Asked
) -> RunReport:
    """Import on every chosen tenant; one that is refused is named, and the others go on."""
    require_known(asked, chosen)

    async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
        return await import_tenant(ctx, ready.engines[target.engine], target, catalogue, asked)

    return await run_call(
        ctx, chosen, chosen.targets, work, bounds, progress, options={"source": asked.tool}
    )
