"""One call that changes tenants: what it has in hand, its run, and the tenants that it leaves as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from ledger import events as ev
from ledger.calls.discovery import discover
from ledger.calls.opened import Opened
from ledger.calls.seen import is_seen, news_of_fleet
from ledger.calls.tenants import Chosen, Stranger, choose_tenants
from ledger.config import MAX_SECONDS
from ledger.engines.base import Engine, Seen, Target
from ledger.errors import ConfigError, LedgerError
from ledger.fleet.progress import Progress
from ledger.fleet.recorded import Beginning, kept, record_plan
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds, failed_before, run_fleet
from ledger.fleet.state import load_fleet, save_after_run
from ledger.plan import Catalogue
from ledger.projections import FleetState
from ledger.requests import BackupPolicy
from ledger.runner.backups import prepare_folder
from ledger.runner.context import RunContext, Settings
from ledger.runner.holder import new_run_id
from ledger.runner.outcome import Outcome, failure
from ledger.runner.preflight import preflight

if TYPE_CHECKING:
    from ledger.fleet.bulk.run import Bulk
    from ledger.scripts.touching import Touched

CHANGING: Final = frozenset({"migrate", "rollback", "restore", "reset"})
"""Commands that run statements on tenants: for them servers and disks are looked at first."""

TAKING_OVER: Final = frozenset({"baseline", "import"})
"""Commands that make a tenant this ledger's, whosever it was; they name it first."""

TenantWork = Callable[[Target, Catalogue], Awaitable[Outcome]]
WorkOf = Callable[[Target], Sequence[ev.MigrationRef]]
"""The migrations that are to be applied, or undone, on a tenant."""


async def begin(
    ready: Opened,
    command: ev.Command,
    patterns: Sequence[str],
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
    chosen, fleet = await _chosen(ready, patterns, runs=command == "rollback")

    async def peers() -> tuple[Sequence[Target], FleetState]:
        if fleet.whole:
            return chosen.found.targets, fleet
        found = await discover(config, ready.engines)
        return found.targets, await load_fleet(ready.store)

    ctx = RunContext(
        store=ready.store,
        ledger_id=ready.store.ledger_id,
        fleet=fleet,
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
        peers=peers,
    )
    states = [ctx.state(target.name) for target in chosen.targets]
    if any(one.adopted and not one.reference for one in states):
        await ctx.references.ask_peers()
    return ctx, await _with_kept(ctx, chosen)


async def _chosen(
    ready: Opened, patterns: Sequence[str], *, runs: bool
) -> tuple[Chosen, FleetState]:
    """The tenants, and what the ledger knows of them; of the whole fleet, unless some are named and follow
    what was recorded when it was last seen: then of those alone, whatever its size.
    """
    chosen = await choose_tenants(ready.config, ready.engines, patterns)
    if not chosen.found.whole:
        fleet = await load_fleet(ready.store, chosen.names, runs=runs)
        if is_seen(chosen, fleet.seen.get(chosen.scope)):
            return chosen, fleet
        chosen = await choose_tenants(ready.config, ready.engines, patterns, whole=True)
    return chosen, await load_fleet(ready.store)


async def _with_kept(ctx: RunContext, chosen: Chosen) -> Chosen:
    """The chosen tenants, with what those applied migrations touch of which no file is left."""
    from ledger.runner.kept import kept_migration
    from ledger.scripts.touching import touched_by

    found: dict[str, Mapping[str, Touched]] = {}
    for target in chosen.targets:
        if not target.prefix:
            continue
        more: dict[str, Touched] = {}
        catalogue = chosen.catalogues[target.name]
        for ref in ctx.state(target.name).applied:
            name = ref.id
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
        msgspec.structs.replace(target, touches=found[target.name])
        if target.name in found
        else target
        for target in chosen.targets
    )
    return msgspec.structs.replace(chosen, targets=targets) if found else chosen


class Call:
    """The tenants of one call, and what works on them."""

    def __init__(
        self, ready: Opened, ctx: RunContext, chosen: Chosen, bounds: Bounds, progress: Progress
    ) -> None:
        self.ready = ready
        self.ctx = ctx
        self.chosen = chosen
        self.targets = chosen.targets
        self.bounds = msgspec.structs.replace(bounds, chosen=len(chosen.targets))
        self.progress = progress

    def engine(self, target: Target) -> Engine:
        """The engine of the tenant."""
        return self.ready.engines[target.engine]

    def catalogue(self, target: Target) -> Catalogue:
        """The migrations that the tenant follows."""
        return self.chosen.catalogues[target.name]

    async def run(
        self,
        work: TenantWork,
        todo: Sequence[Target] | None = None,
        *,
        target_version: str | None = None,
        options: dict[str, str] | None = None,
        bulk: Bulk | None = None,
        work_of: WorkOf | None = None,
        notes: tuple[str, ...] = (),
    ) -> RunReport:
        """Do `work` on the tenants `todo` (None: all). The others are `current`, every lost source a failure.

        No run is recorded if nothing is to do. `work_of` is for the record; `notes` are warnings
        of the caller's.
        """
        ctx, chosen = self.ctx, self.chosen
        todo = list(chosen.targets if todo is None else todo)
        self.bounds.failure_budget(len(todo))
        todo.sort(key=lambda target: failed_before(ctx, target))
        outcomes = {target.name: _current(ctx, target) for target in chosen.targets}
        strangers = {stranger.tenant: stranger for stranger in chosen.strangers}
        if ctx.command not in TAKING_OVER:
            outcomes |= {
                name: failure(name, stranger.error) for name, stranger in strangers.items()
            }
            todo = [target for target in todo if target.name not in strangers]
        for lost in chosen.found.lost:
            outcomes[lost.source] = failure(lost.source, lost.error)
        made = RunReport(run="", command=ctx.command, outcomes=())
        warnings: tuple[str, ...] = ()
        if todo:
            warnings = await self._preflight(todo, work_of)
            made = await run_fleet(
                ctx,
                todo,
                lambda target: work(target, chosen.catalogues[target.name]),
                self.bounds,
                self.progress,
                target_version=target_version,
                options=options,
                bulk=bulk,
                beginning=await self._beginning(todo, work_of, target_version, options or {}),
                apart=[outcome for outcome in outcomes.values() if not outcome.ok],
            )
            outcomes.update(
                (outcome.tenant, _taken_over(outcome, strangers)) for outcome in made.outcomes
            )
            await save_after_run(ctx)
        elif chosen.found.whole and not strangers and (seen := await news_of_fleet(ctx, chosen)):
            ((event, text),) = seen
            await ctx.record_fleet(event, scripts={text.sha256: text.text})
            await save_after_run(ctx)
        return msgspec.structs.replace(
            made,
            outcomes=tuple(outcomes[name] for name in sorted(outcomes)),
            warnings=(*notes, *warnings),
        )

    async def _preflight(self, todo: Sequence[Target], work_of: WorkOf | None) -> tuple[str, ...]:
        """Check folder, servers and disks. Raises PreflightError; returns warnings."""
        ctx, chosen = self.ctx, self.chosen
        if ctx.settings.backup != "never":
            prepare_folder(ctx)
        if ctx.command not in CHANGING:
            return ()
        return await preflight(
            ctx,
            todo,
            chosen.engines.__getitem__,
            ledger=chosen.ledger,
            parallel=self.bounds.parallel,
            statement_bytes=_longest(chosen),
            statements=partial(_statements, ctx, chosen, work_of),
        )

    async def _beginning(
        self,
        todo: Sequence[Target],
        work_of: WorkOf | None,
        target_version: str | None,
        options: dict[str, str],
    ) -> Beginning:
        """What the run records before it begins: its plan, and the fleet where that has changed."""
        seen = await news_of_fleet(self.ctx, self.chosen)
        last = self.ctx.fleet.seen.get(self.chosen.scope)
        plan = record_plan(
            self.ctx.command,
            todo,
            work_of,
            fleet=seen[0][0].fleet if seen else last.fleet if last is not None else "",
            target=target_version,
            options=options,
        )
        return Beginning(plan=kept(plan), seen=seen)


def _statements(
    ctx: RunContext,
    chosen: Chosen,
    work_of: WorkOf | None,
    target: Target,
) -> tuple[str, ...]:
    """What a migrate is to run on the tenant; nothing where that is not known beforehand."""
    if ctx.command != "migrate" or work_of is None:
        return ()
    wanted = {(ref.set, ref.version) for ref in work_of(target)}
    return tuple(
        step.sql
        for migration in chosen.catalogues[target.name].order
        if (migration.ref.set, migration.ref.version) in wanted
        for step in (*migration.up.steps, *migration.sync)
    )


def _taken_over(outcome: Outcome, strangers: Mapping[str, Stranger]) -> Outcome:
    """The outcome, with a warning where the tenant was another ledger's until now."""
    stranger = strangers.get(outcome.tenant)
    if stranger is None or not outcome.ok:
        return outcome
    warning = f"taken over from another ledger ({stranger.owner})"
    return msgspec.structs.replace(outcome, warnings=(*outcome.warnings, warning))


def _longest(chosen: Chosen) -> int:
    """The size of the longest statement that may run, in bytes."""
    catalogues = {id(catalogue): catalogue for catalogue in chosen.catalogues.values()}.values()
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
                ids[key] = tuple(ref.id for ref in state.applied)
            last = Seen(target=target, mark=state.mark, applied=ids[key])
            seen.setdefault(target.engine, []).append(last)
    changed = {
        target.name
        for target in chosen.targets
        if (state := fleet.tenants.get(target.name)) is not None and state.skipped
    }
    for engine, group in seen.items():
        changed |= await ready.engines[engine].changed(group)
    return changed
