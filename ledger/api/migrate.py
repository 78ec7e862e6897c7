"""`plan` and `migrate`: what is pending on each tenant, and the run that applies it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
import msgspec

from ledger.calls.call import Call, changed_tenants
from ledger.calls.opened import Look
from ledger.calls.tenants import Chosen
from ledger.dialects.steps import DialectName
from ledger.engines.base import Target
from ledger.errors import UsageError
from ledger.events import MigrationRef
from ledger.fleet.bulk.executor import Executor
from ledger.fleet.bulk.processes import LANES, how_many, with_processes
from ledger.fleet.bulk.run import Bulk
from ledger.fleet.planning import (
    Decisions,
    FleetPlan,
    TenantPlan,
    drifted_tenants,
    gone_files,
    left_alone,
    refuse_wrong_files,
)
from ledger.fleet.plans import migrate_plan
from ledger.fleet.report import RunReport
from ledger.fleet.syncs import with_syncs
from ledger.plan import Catalogue, Options, others, unsettled
from ledger.projections import FleetState
from ledger.requests import BackupPolicy, Migrate, PlanMigrate
from ledger.runner.explain import queries_for
from ledger.runner.migrate import migrate_tenant
from ledger.runner.outcome import Outcome
from ledger.scripts.queries import Query, parse_queries
from ledger.scripts.source import read_source


class Pending(NamedTuple):
    """The plan, what it was made of, and the tenants that a `to` does not concern."""

    plan: FleetPlan
    decisions: Decisions
    alone: tuple[str, ...]


def find_pending(
    chosen: Chosen,
    fleet: FleetState,
    options: Options,
    backup: BackupPolicy,
    notes: tuple[str, ...] = (),
) -> Pending:
    """What is pending. Raises ChecksumMismatchError, EmptyMigrationError, ScriptError, UsageError."""
    alone = others(chosen.catalogues, options.to)
    decisions = Decisions(fleet, options)
    refuse_wrong_files(chosen.targets, chosen.catalogues, decisions)
    warnings = (
        *chosen.warnings,
        *left_alone(alone, options.to),
        *notes,
        *drifted_tenants(chosen.targets, fleet),
    )
    plan = migrate_plan(chosen.targets, chosen.catalogues, fleet, decisions, warnings, backup)
    return Pending(plan, decisions, alone)


async def plan(look: Look, request: PlanMigrate) -> FleetPlan:
    """What `migrate` would do. Reads the tenants with a pending section sync."""
    ready, fleet, chosen = look
    found = find_pending(
        chosen,
        fleet,
        ready.options(request.to, request.out_of_order),
        request.backup or ready.config.backup,
        gone_files(chosen.targets, chosen.catalogues, fleet),
    )
    parallel = request.parallel or ready.config.parallel
    made = await with_syncs(
        found.plan,
        chosen.targets,
        chosen.catalogues,
        found.decisions,
        ready.engines.__getitem__,
        parallel=parallel,
    )
    if request.estimate:
        from ledger.api.estimates import with_estimates

        made = await with_estimates(made, ready.store, fleet, chosen, parallel=parallel)
    return with_unanswered(made, chosen)


def with_unanswered(plan: FleetPlan, chosen: Chosen) -> FleetPlan:
    """The plan, in which tenants of another ledger and sources that did not answer are refused.

    So a fleet of which a part could not be asked for its tenants is never called current.
    """
    strangers = {stranger.tenant: stranger for stranger in chosen.strangers}

    def refused(row: TenantPlan) -> TenantPlan:
        stranger = strangers.get(row.tenant)
        if stranger is None:
            return row
        return msgspec.structs.replace(
            row,
            migrations=(),
            problem=stranger.error.message,
            hint=stranger.error.hint,
            owner=stranger.owner,
        )

    lost = [
        TenantPlan(
            tenant=lost_source.source,
            engine=lost_source.engine,
            version=None,
            problem=str(lost_source.error)
            if lost_source.aside
            else f"it did not answer, and may have tenants: {lost_source.error}",
            hint=lost_source.error.hint,
        )
        for lost_source in chosen.found.lost
    ]
    return msgspec.structs.replace(plan, tenants=(*map(refused, plan.tenants), *lost))


async def migrate(call: Call, request: Migrate) -> RunReport:
    """Apply what is pending. Tenants that changed behind our back have their markers compared first."""
    ctx, chosen = call.ctx, call.chosen
    options = call.ready.options(request.to, request.out_of_order)
    call.bounds = msgspec.structs.replace(
        call.bounds,
        on_error=request.on_error,
        max_failures=None if request.max_failures is None else str(request.max_failures),
    )
    if request.explain is not None:
        queries = await _read_queries(request.explain, chosen)
        ctx.settings = msgspec.structs.replace(ctx.settings, explain=queries)
    found = find_pending(chosen, ctx.fleet, options, ctx.settings.backup)
    changed = await changed_tenants(call.ready, ctx.fleet, chosen)
    todo = []
    for target, planned in zip(chosen.targets, found.plan.tenants, strict=True):
        if not planned.migrations and unsettled(ctx.state(target.name)):
            changed.add(target.name)
        if target.name not in found.alone and (
            planned.migrations or planned.problem or target.name in changed
        ):
            todo.append(target)
    report = await _run(call, todo, changed, options, found.decisions)
    return msgspec.structs.replace(report, warnings=(*found.plan.warnings, *report.warnings))


async def _run(
    call: Call, todo: Sequence[Target], changed: set[str], options: Options, decisions: Decisions
) -> RunReport:
    """In this process, or with worker processes for tenants that can be worked on in batches."""
    refs: dict[int, tuple[MigrationRef, ...]] = {}

    def work_of(target: Target) -> tuple[MigrationRef, ...]:
        """Made once for all tenants for which the same was decided."""
        pending = decisions.of(target.name, call.catalogue(target)).pending
        if id(pending) not in refs:
            refs[id(pending)] = tuple(migration.ref for migration in pending)
        return refs[id(pending)]

    async def work(target: Target, catalogue: Catalogue) -> Outcome:
        inspect = target.name in changed
        engine = call.engine(target)
        return await migrate_tenant(call.ctx, engine, target, catalogue, options, inspect=inspect)

    async def run(executor: Executor | None) -> RunReport:
        bulk = None
        if executor is not None:
            fresh = Decisions(call.ctx.fleet, options)
            catalogues = call.chosen.catalogues.__getitem__
            bulk = Bulk(call.ctx, executor, catalogues, fresh, lanes=lanes, but=changed)
        return await call.run(work, todo, target_version=options.to, bulk=bulk, work_of=work_of)

    parallel = call.bounds.parallel
    workers = min(how_many(call.ready.config.workers, todo, call.chosen.catalogues), parallel)
    # Servers' tenants are worked on beside them, and must not wait for the last file.
    share = parallel // 2 if any(target.server for target in todo) else parallel
    lanes = max(1, min(share, LANES * workers))
    if not workers:
        return await run(None)
    return await with_processes(workers, {target.engine for target in todo}, run)


async def _read_queries(path: str | Path, chosen: Chosen) -> dict[DialectName, tuple[Query, ...]]:
    """The queries of `--explain FILE` for each dialect in use. Raises UsageError and ScriptError."""
    try:
        data = await anyio.Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"the queries to explain cannot be read: {path}: {error.strerror}",
            hint="Name a file with `-- query: NAME` and a SELECT after each.",
        ) from error
    source = read_source(data, file=str(path))
    # Engines' names are their dialects'.
    dialects: set[DialectName] = {target.engine for target in chosen.targets}
    queries = {dialect: parse_queries(source, dialect) for dialect in dialects}
    for target in chosen.targets:
        queries_for(queries, target, target.engine)
    return queries
