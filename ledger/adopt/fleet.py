"""`import`: taking over from another migration tool, over many tenants."""

from __future__ import annotations

import difflib

from ledger.adopt.tenant import Importing, import_tenant, plan_import_tenant
from ledger.calls.call import Call
from ledger.calls.tenants import Chosen
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.fleet.fanout import each_target
from ledger.fleet.progress import Progress
from ledger.fleet.report import RunReport
from ledger.plan import Catalogue
from ledger.requests import Import, PlanImport
from ledger.runner.outcome import Outcome
from ledger.scripts.foreign import SOURCES
from ledger.scripts.placeholders import validate_identifier_value


def require_known(asked: PlanImport, chosen: Chosen) -> None:
    """Raises UsageError for a tool, a table or a set that cannot be."""
    if asked.source not in SOURCES:
        near = difflib.get_close_matches(asked.source, SOURCES, n=1)
        raise UsageError(
            f"no tool {asked.source!r} is known",
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
    sets = {
        migration_set.name
        for catalogue in chosen.catalogues.values()
        for migration_set in catalogue.sets
    }
    if asked.set_name is not None and asked.set_name not in sets:
        raise UsageError(
            f"no set is named {asked.set_name!r}", hint=f"There are: {', '.join(sorted(sets))}."
        )


async def plan_import(call: Call, request: PlanImport) -> tuple[Importing, ...]:
    """What an import would count as applied on each tenant; touches nothing."""
    require_known(request, call.chosen)

    async def plan(target: Target) -> Importing:
        return await plan_import_tenant(
            call.ctx, call.engine(target), target, call.catalogue(target), request
        )

    return tuple(
        await each_target(
            call.targets,
            plan,
            command="import",
            parallel=call.bounds.parallel,
            progress=Progress(),
            outcome=lambda _: ("planned", ""),
        )
    )


async def import_history(call: Call, request: Import) -> RunReport:
    """Import on every chosen tenant; one that is refused is named, and the others go on."""
    require_known(request, call.chosen)

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        return await import_tenant(call.ctx, call.engine(target), target, catalogue, request)

    return await call.run(work, options={"source": request.source})
