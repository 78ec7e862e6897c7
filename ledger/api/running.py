"""One call that changes tenants: its context, its run, and what it left as it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from ledger import events as ev
from ledger import projections
from ledger.api.arguments import patterns
from ledger.api.opened import Chosen, Opened, choose_tenants
from ledger.api.strangers import Stranger
from ledger.api.touches import with_kept
from ledger.config import MAX_SECONDS
from ledger.engines.base import Seen, Target
from ledger.errors import ChainBrokenError, ConfigError
from ledger.fleet.bulk.run import Bulk
from ledger.fleet.progress import Progress
from ledger.fleet.recorded import (
    Beginning,
    Kept,
    RecordedFleet,
    kept,
    read_fleet,
    record_fleet,
    record_plan,
)
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds, failed_before, run_fleet
from ledger.fleet.state import load_fleet, save_after_run
from ledger.plan import Catalogue
from ledger.projections import FleetState
from ledger.runner.backups import prepare_folder
from ledger.runner.context import BackupPolicy, RunContext, Settings
from ledger.runner.holder import new_run_id
from ledger.runner.kept import kept_text
from ledger.runner.outcome import Outcome, failure
from ledger.runner.preflight import preflight

Tenants = str | Sequence[str]
CHANGING: Final = frozenset({"migrate", "rollback", "restore", "reset"})
"""Commands that run statements on tenants: for them servers and disks are looked at first."""

TAKING_OVER: Final = frozenset({"baseline", "import"})
"""Commands that make a tenant this ledger's, whosever it was; they name it first."""

TenantWork = Callable[[RunContext, Target, Catalogue], Awaitable[Outcome]]


async def begin(
    ready: Opened,
    command: ev.Command,
    tenants: Tenants,
    *,
    actor: str,
    progress: Progress,
    reason: str = "",
    backup: BackupPolicy | None = None,
) -> tuple[RunContext, Chosen]:
    """Discover, choose, load the fleet's state, and give the call a run id.

    Raises ConfigError for a lease that no event could hold: a ledger that holds one reads no more.
    """
    config = ready.config
    if not 0 < config.lease_seconds <= MAX_SECONDS:
        raise ConfigError(
            f"lease_seconds is {config.lease_seconds}",
            hint=f"Give seconds, more than 0 and at most {MAX_SECONDS:.0f}.",
        )
    chosen = await choose_tenants(config, ready.engines, patterns(tenants))
    ctx = RunContext(
        store=ready.store,
        ledger_id=ready.store.ledger_id,
        fleet=await load_fleet(ready.store),
        settings=Settings(
            backups=config.backups,
            backup=backup or config.backup,
            lease_seconds=config.lease_seconds,
            wait_seconds=config.timeouts.wait_seconds,
            backup_seconds=config.timeouts.backup_seconds,
            statement_seconds=config.timeouts.statement_seconds,
            strict=config.strict,
        ),
        command=command,
        run=new_run_id(),
        actor=actor,
        watcher=progress,
        reason=reason,
        peers=chosen.found.targets,
    )
    return ctx, await with_kept(ctx, chosen)


async def run_call(
    ctx: RunContext,
    chosen: Chosen,
    todo: Sequence[Target],
    work: TenantWork,
    bounds: Bounds,
    progress: Progress,
    *,
    target_version: str | None = None,
    options: dict[str, str] | None = None,
    bulk: Bulk | None = None,
    work_of: Callable[[Target], Sequence[ev.MigrationRef]] | None = None,
    notes: tuple[str, ...] = (),
) -> RunReport:
    """Run what is to do; every other chosen tenant is `current`, every lost source a failure.

    No run is recorded if nothing is to do. `work_of` gives the migrations that are to be applied, or
    undone, on a tenant, for the record; `notes` are warnings of the caller's.
    """
    bounds = msgspec.structs.replace(bounds, chosen=len(chosen.targets))
    bounds.failure_budget(len(todo))
    todo = sorted(todo, key=lambda target: failed_before(ctx, target))
    outcomes = {target.name: _current(ctx, target) for target in chosen.targets}
    strangers = {one.tenant: one for one in chosen.strangers}
    if ctx.command not in TAKING_OVER:
        outcomes |= {name: failure(name, one.error) for name, one in strangers.items()}
        todo = [target for target in todo if target.name not in strangers]
    for lost in chosen.found.lost:
        outcomes[lost.source] = failure(lost.source, lost.error)
    run, duration_us, interrupted = "", 0, False
    warnings: tuple[str, ...] = ()
    if todo:
        if ctx.settings.backup != "never":
            prepare_folder(ctx)
        if ctx.command in CHANGING:
            warnings = await preflight(
                ctx,
                todo,
                chosen.engines.__getitem__,
                ledger=chosen.ledger,
                parallel=bounds.parallel,
                statement_bytes=_longest(chosen),
                statements=partial(_statements, ctx, chosen, work_of),
            )
        seen = await news_of_fleet(ctx, chosen)
        last = ctx.fleet.seen.get(chosen.scope)
        plan = record_plan(
            ctx.command,
            todo,
            work_of,
            fleet=seen[1].sha256 if seen is not None else last.fleet if last is not None else "",
            target=target_version,
            options=options or {},
        )
        report = await run_fleet(
            ctx,
            todo,
            lambda target: work(ctx, target, chosen.catalogues[target.name]),
            bounds,
            progress,
            target_version=target_version,
            options=options,
            bulk=bulk,
            beginning=Beginning(plan=kept(plan), seen=seen),
            apart=[one for one in outcomes.values() if not one.ok],
        )
        outcomes.update((one.tenant, _taken_over(one, strangers)) for one in report.outcomes)
        run, duration_us, interrupted = report.run, report.duration_us, report.interrupted
        await save_after_run(ctx)
    elif not strangers and (seen := await news_of_fleet(ctx, chosen)) is not None:
        await ctx.record_fleet(seen[0], scripts={seen[1].sha256: seen[1].text})
        await save_after_run(ctx)
    return RunReport(
        run=run,
        command=ctx.command,
        outcomes=tuple(outcomes[name] for name in sorted(outcomes)),
        duration_us=duration_us,
        interrupted=interrupted,
        warnings=(*notes, *warnings),
    )


def _statements(
    ctx: RunContext,
    chosen: Chosen,
    work_of: Callable[[Target], Sequence[ev.MigrationRef]] | None,
    target: Target,
) -> tuple[str, ...]:
    """What a migrate is to run on the tenant; nothing where that is not known beforehand."""
    if ctx.command != "migrate" or work_of is None:
        return ()
    wanted = {(ref.set, ref.version) for ref in work_of(target)}
    return tuple(
        step.sql
        for one in chosen.catalogues[target.name].order
        if (one.ref.set, one.ref.version) in wanted
        for step in (*one.up.steps, *one.sync)
    )


async def news_of_fleet(ctx: RunContext, chosen: Chosen) -> tuple[ev.FleetSeen, Kept] | None:
    """What is to be recorded of which tenants there are and what they follow, unless that is what was last seen.

    Not where a source did not answer: its tenants are not gone.
    """
    if not chosen.found.answered:
        return None
    last = ctx.fleet.seen.get(chosen.scope)
    before = None
    if last is not None and len(chosen.known) < len(chosen.found.targets):
        before = await _seen_before(ctx, last)
    fleet = record_fleet(
        chosen.found.targets, chosen.known, before, out_of_order=chosen.out_of_order
    )
    now = kept(fleet)
    if last is not None and last.fleet == now.sha256:
        return None
    if last is not None and before is None:
        before = await _seen_before(ctx, last)
    old = before.names if before is not None else fleet.names
    event = ev.FleetSeen(
        scope=chosen.scope,
        fleet=now.sha256,
        tenants=len(fleet.tenants),
        previous=last.fleet if last is not None else "",
        came=tuple(sorted(fleet.names - old)),
        gone=tuple(sorted(old - fleet.names)),
    )
    return event, now


async def _seen_before(ctx: RunContext, last: projections.Seen) -> RecordedFleet | None:
    """What was last seen; None for a text that is missing or was changed, which `verify` names."""
    try:
        return read_fleet(await kept_text(ctx.store, last.fleet, "fleet"))
    except ChainBrokenError:
        return None


def _taken_over(outcome: Outcome, strangers: Mapping[str, Stranger]) -> Outcome:
    """The outcome, with a warning where the tenant was another ledger's until now."""
    stranger = strangers.get(outcome.tenant)
    if stranger is None or not outcome.ok:
        return outcome
    warning = f"taken over from another ledger ({stranger.owner})"
    return msgspec.structs.replace(outcome, warnings=(*outcome.warnings, warning))


def _longest(chosen: Chosen) -> int:
    """The size of the longest statement that may run, in bytes."""
    catalogues = {id(one): one for one in chosen.catalogues.values()}.values()
    texts = {
        len(step.sql): step.sql
        for catalogue in catalogues
        for migration in catalogue.order
        for step in migration.up.steps
    }
    return len(texts[max(texts)].encode("utf-8", "surrogateescape")) if texts else 0


def _current(ctx: RunContext, target: Target) -> Outcome:
    applied = ctx.state(target.name).applied
    return Outcome(
        tenant=target.name, result="current", version=applied[-1].version if applied else None
    )


async def changed_tenants(ready: Opened, fleet: FleetState, chosen: Chosen) -> set[str]:
    """Tenants that look different from how the last run left them, by the engines' cheap looks.

    And those that it could not reach: whether they are back is worth a look.
    """
    seen: dict[str, list[Seen]] = {}
    ids: dict[int, tuple[str, ...]] = {}
    for target in chosen.targets:
        state = fleet.tenants.get(target.name)
        if state is not None and state.mark is not None:
            key = id(state.applied)
            if key not in ids:
                ids[key] = tuple(f"{ref.set}/{ref.version}" for ref in state.applied)
            one = Seen(target=target, mark=state.mark, applied=ids[key])
            seen.setdefault(target.engine, []).append(one)
    changed = {
        target.name
        for target in chosen.targets
        if (state := fleet.tenants.get(target.name)) is not None and state.skipped
    }
    for engine, group in seen.items():
        changed |= await ready.engines[engine].changed(group)
    return changed
