"""Plans made: what migrate or rollback would do to each tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from ledger.dialects import dialect_of
from ledger.dialects.steps import DialectName, Section
from ledger.engines.base import Engine, Target
from ledger.errors import LedgerError
from ledger.events import MigrationRef
from ledger.fleet.planning import (
    Decisions,
    FleetPlan,
    PlannedMigration,
    PlannedStep,
    TenantPlan,
    problem_text,
)
from ledger.plan import Catalogue, how_undone, standing
from ledger.projections import Applied, FleetState, Half
from ledger.requests import BackupPolicy, How
from ledger.runner.backups import asked
from ledger.runner.context import RunContext
from ledger.runner.ways import WayBack, also_undone, ways_back
from ledger.scripts.model import Migration
from ledger.scripts.placeholders import bind

UNKNOWN: Final = "a run began it and has no end; the rollback looks first how far it has come"

Choose = Callable[[Target, Catalogue], Callable[[Applied], Sequence[MigrationRef]]]


def migrate_plan(
    targets: Sequence[Target],
    catalogues: Mapping[str, Catalogue],
    fleet: FleetState,
    decisions: Decisions,
    warnings: Sequence[str],
    backup: BackupPolicy,
) -> FleetPlan:
    """One row per target, in order. Raises ScriptError for an unknown placeholder.

    `backup` is the policy that says what a rollback will be able to do. Each migration is bound
    and described once for all tenants with the same variables, and tenants for which the same
    was decided share one tuple of them.
    """
    described: dict[tuple[int, tuple[tuple[str, str], ...]], PlannedMigration] = {}
    looked: set[tuple[int, tuple[str, ...]]] = set()
    alike: dict[tuple[int, tuple[tuple[str, str], ...]], tuple[PlannedMigration, ...]] = {}
    notes = list(warnings)
    tenants = []
    for target in targets:
        decision = decisions.of(target.name, catalogues[target.name])
        variables = tuple(sorted(target.variables.items()))
        planned = alike.get((id(decision), variables))
        if planned is None:
            for migration in decision.pending:
                key = (id(migration), variables)
                if key not in described:
                    described[key] = _describe(bind(migration, target.variables))
            asks = partial(_asks, backup, target.engine)
            undone = how_undone(decision.pending, asks, each=backup == "each")
            planned = alike[id(decision), variables] = tuple(
                msgspec.structs.replace(described[id(migration), variables], undo=undo)
                for migration, undo in zip(decision.pending, undone, strict=True)
            )
            notes += [text for text in decision.warnings if text not in notes]
        if (id(decision), target.session) not in looked:
            looked.add((id(decision), target.session))
            found = _deleting(decision.pending, target.session)
            notes += [text for text in found if text not in notes]
        message, hint = problem_text(decisions.problem(target.name, catalogues[target.name]))
        state = fleet.tenant(target.name)
        applied = state.applied
        tenants.append(
            TenantPlan(
                tenant=target.name,
                engine=target.engine,
                version=applied[-1].version if applied else None,
                migrations=_with_landed(planned, state.halves),
                problem=message,
                hint=hint,
                in_part=tuple(half.id for half in state.halves),
            )
        )
    return FleetPlan(command="migrate", tenants=tuple(tenants), warnings=tuple(notes))


def _with_landed(
    planned: tuple[PlannedMigration, ...], halves: Sequence[Half]
) -> tuple[PlannedMigration, ...]:
    """The same, with the steps marked that have landed in an earlier attempt."""
    if not halves:
        return planned
    landed = {half.id: half.landed for half in halves}
    return tuple(
        msgspec.structs.replace(
            migration,
            steps=tuple(
                msgspec.structs.replace(step, landed=step.number in landed[migration.id])
                for step in migration.steps
            ),
        )
        if migration.id in landed
        else migration
        for migration in planned
    )


def _deleting(pending: Sequence[Migration], session: tuple[str, ...]) -> Iterator[str]:
    """The steps that would delete rows which no statement names."""
    for migration in pending:
        for finding in dialect_of(migration.dialect).deletes_unnamed(migration.up, session):
            yield f"{finding.file}:{finding.line}: {finding.message}"


def _asks(backup: BackupPolicy, dialect: DialectName, migration: Migration) -> bool:
    return asked(backup, migration, dialect)


def _describe(migration: Migration) -> PlannedMigration:
    return PlannedMigration(
        id=migration.id,
        name=migration.ref.name,
        direction="up",
        steps=_steps(migration.up),
        how="python" if migration.python else "script",
        estimated_seconds=migration.manifest.estimated_time_seconds,
        description=migration.manifest.description,
    )


def _steps(section: Section | None) -> tuple[PlannedStep, ...]:
    if section is None:
        return ()
    return tuple(
        PlannedStep(
            number=step.number,
            name=step.name,
            sql="(secret)" if step.secret else step.sql,
            skip_if=step.skip_if.text if step.skip_if else "",
            up_step=step.skip_if.up_step if step.skip_if else None,
        )
        for step in section.steps
    )


async def rollback_plan(
    ctx: RunContext,
    targets: Sequence[Target],
    catalogues: Mapping[str, Catalogue],
    engine_of: Callable[[str], Engine],
    choose: Choose,
    by: How,
) -> FleetPlan:
    """How each chosen migration would be undone, and what a backup would lose."""
    tenants = []
    for target in targets:
        catalogue = catalogues[target.name]
        state = ctx.state(target.name)
        applied = state.applied
        planned: tuple[PlannedMigration, ...] = ()
        message, hint = "", ""
        try:
            refs = list(choose(target, catalogue)(standing(state)))
            ways = await ways_back(ctx, engine_of(target.engine), target, catalogue, refs, by)
            planned = tuple(_describe_way(way, standing(state)) for way in ways)
        except LedgerError as error:
            message, hint = problem_text(error)
        tenants.append(
            TenantPlan(
                tenant=target.name,
                engine=target.engine,
                version=applied[-1].version if applied else None,
                migrations=planned,
                problem=message,
                hint=hint,
                in_part=tuple(half.id for half in state.halves),
            )
        )
    return FleetPlan(command="rollback", tenants=tuple(tenants))


def _describe_way(way: WayBack, applied: Applied) -> PlannedMigration:
    name = way.ref.id
    if way.backup is not None:
        return PlannedMigration(
            id=name,
            name=way.ref.name,
            direction="down",
            how=f"backup {way.backup.backup.path}",
            lost=f"everything written since {way.backup.at}, and with it "
            + ", ".join(sorted("/".join(key) for key in also_undone(applied, way.backup))),
        )
    return PlannedMigration(
        id=name,
        name=way.ref.name,
        direction="down",
        steps=_steps(way.script.down if way.script else None),
        how="python" if way.script is not None and way.script.python else "script",
        notes=(UNKNOWN,) if way.unknown else (),
    )
