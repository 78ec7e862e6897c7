"""Rehearsing one tenant's migrations: forward, back and forward again, in a scratch place.

Invariant: the tenant is read at most; everything else happens in the scratch place,
under a ledger of its own that is thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from ledger import events as ev
from ledger.drift import compare
from ledger.engines.base import Engine, Scratch
from ledger.errors import TenantError
from ledger.events import MigrationRef
from ledger.plan import Catalogue, Options
from ledger.projections import Applied
from ledger.rehearse.outside import refuse_outside, refuse_reaching
from ledger.rehearse.report import Rehearsal, Rehearsed
from ledger.runner.context import RunContext
from ledger.runner.facts import elapsed_us
from ledger.runner.kept import KeptBackup
from ledger.runner.migrate import migrate_tenant
from ledger.runner.outcome import Outcome
from ledger.runner.references import kept_schema
from ledger.runner.undo import restore_tenant, rollback_tenant
from ledger.schema import Schema
from ledger.stores.base import Filter


async def rehearse_tenant(
    ctx: RunContext,
    engine: Engine,
    scratch: Scratch,
    catalogue: Catalogue,
    options: Options,
    kept: KeptBackup,
    *,
    whole: Schema | None = None,
) -> Rehearsal:
    """Restore `kept` in the scratch place, and run there what is pending: up, down and up again.

    `whole` is the schema to come back to where `kept` holds a migration in part.
    `ctx` belongs to the scratch ledger. Raises TenantError where a migration names what
    lies outside, and so would touch something live.
    """
    target = scratch.target
    refuse_outside(ctx, scratch, catalogue, kept.backup.applied, options)
    for_restore = msgspec.structs.replace(target, for_restore=True)
    restored = await restore_tenant(ctx, engine, for_restore, catalogue, kept)
    if not restored.ok:
        raise TenantError(restored.message, hint=restored.hint, tenant=target.name)
    stage = _Stage(ctx, engine, scratch, catalogue, options)
    before, size = await stage.look()
    refuse_reaching(scratch, before)
    up = await migrate_tenant(ctx, engine, target, catalogue, options)
    seen = Rehearsal(
        tenant=target.name,
        result="passed" if up.migrations else "current",
        migrations=await stage.applied(),
        bytes_before=size,
        restore_us=restored.duration_us,
        migrate_us=up.duration_us,
        notes=(*up.warnings, *_python_notes(catalogue, up)),
    )
    if not up.ok:
        return stage.failed(seen, "migrate", up)
    after, size = await stage.look()
    seen = msgspec.structs.replace(seen, bytes_after=size)
    if not up.migrations:
        return seen
    seen = await stage.back(seen, whole or before)
    if seen.result == "failed":
        return seen
    again = await migrate_tenant(ctx, engine, target, catalogue, options)
    seen = msgspec.structs.replace(seen, reapply_us=again.duration_us)
    if not again.ok:
        return stage.failed(seen, "reapply", again)
    differences = compare(after, (await stage.look())[0])
    if differences:
        return msgspec.structs.replace(
            seen,
            result="failed",
            stage="reapply",
            differences=differences,
            message="applied again after the rollback, the schema is another",
        )
    return seen


def _python_notes(catalogue: Catalogue, up: Outcome) -> tuple[str, ...]:
    """A warning for each migration in Python: what it does beyond its tenant cannot be known beforehand."""
    return tuple(
        f"{migration.id} is Python: what it does outside of its tenant was really done"
        for migration in catalogue.order
        if migration.python is not None and migration.id in up.migrations
    )


class _Stage:
    """What the parts of one rehearsal share."""

    def __init__(
        self,
        ctx: RunContext,
        engine: Engine,
        scratch: Scratch,
        catalogue: Catalogue,
        options: Options,
    ) -> None:
        self.ctx = ctx
        self.engine = engine
        self.target = scratch.target
        self.catalogue = catalogue
        self.options = options

    async def look(self) -> tuple[Schema, int | None]:
        """The schema now, and the size."""
        async with self.engine.open(self.target) as session:
            mark = await session.mark()
            return await session.schema(), mark.bytes

    async def _events(self) -> list[ev.AnyEvent]:
        found: list[ev.AnyEvent] = []
        async for rows in self.ctx.store.read(Filter(stream=f"tenant/{self.target.name}")):
            found += [row.data for row in rows]
        return found

    async def applied(self) -> tuple[Rehearsed, ...]:
        """What was applied, in order, from the scratch ledger."""
        done: list[Rehearsed] = []
        steps = checks = 0
        for event in await self._events():
            if isinstance(event, ev.StepApplied | ev.StepSkipped):
                steps += 1
            elif isinstance(event, ev.Validated):
                checks = len(event.checks)
            elif isinstance(event, ev.Completed):
                ref = event.migration
                done.append(
                    Rehearsed(
                        migration=ref.id,
                        up_us=event.duration_us,
                        steps=steps,
                        checks=checks,
                        bytes=event.mark.bytes,
                    )
                )
                steps = checks = 0
        return tuple(done)

    def failed(self, seen: Rehearsal, stage: str, outcome: Outcome) -> Rehearsal:
        """The rehearsal ended with the outcome's error."""
        checks = (outcome.message,) if outcome.error == "check_failed" else ()
        return msgspec.structs.replace(
            seen,
            result="failed",
            stage=stage,
            failed_checks=checks,
            error=outcome.error,
            message=outcome.message,
            hint=outcome.hint,
            migration=outcome.migration,
            step=outcome.step,
            file=outcome.file,
            line=outcome.line,
        )

    async def back(self, seen: Rehearsal, first: Schema) -> Rehearsal:
        """Undo by script, newest first, as far as there are down steps; compare after each."""
        schemas = await self._schemas_before(first)
        known = {migration.id: migration for migration in self.catalogue.order}
        done = list(seen.migrations)
        spent = 0
        for number in reversed(range(len(done))):
            rehearsed = done[number]
            migration = known.get(rehearsed.migration)
            if migration is None or not migration.undoes:
                done[number] = msgspec.structs.replace(rehearsed, down="none")
                break
            began = time.perf_counter_ns()
            outcome = await rollback_tenant(
                self.ctx,
                self.engine,
                self.target,
                self.catalogue,
                _only(migration.ref),
                by="script",
            )
            took = elapsed_us(began)
            spent += took
            if not outcome.ok:
                done[number] = msgspec.structs.replace(rehearsed, down="fails", down_us=took)
                seen = msgspec.structs.replace(seen, migrations=tuple(done), rollback_us=spent)
                return self.failed(seen, "rollback", outcome)
            differences = compare(schemas[rehearsed.migration], (await self.look())[0])
            done[number] = msgspec.structs.replace(
                rehearsed,
                down="differs" if differences else "works",
                down_us=took,
                differences=differences,
            )
        seen = msgspec.structs.replace(seen, migrations=tuple(done), rollback_us=spent)
        wrong = [rehearsed for rehearsed in done if rehearsed.down == "differs"]
        if wrong:
            return msgspec.structs.replace(
                seen,
                result="failed",
                stage="rollback",
                migration=wrong[0].migration,
                message="its down steps do not lead back to the schema before it",
                hint="Complete its down steps; the differences say what is not as it was.",
            )
        return seen

    async def _schemas_before(self, first: Schema) -> dict[str, Schema]:
        """The schema before each migration, by its id: the one after the migration before it."""
        schemas: dict[str, Schema] = {}
        now = first
        for event in await self._events():
            if isinstance(event, ev.Completed):
                schemas[event.migration.id] = now
                kept = await kept_schema(self.ctx.store, event.mark.fingerprint or "")
                # Where the text is not kept, the schema is the one there was at first.
                now = first if kept is None else kept
        return schemas


def _only(ref: MigrationRef) -> Callable[[Applied], Sequence[MigrationRef]]:
    """That migration, as long as it is applied."""
    key = ref.key
    return lambda applied: [ref for ref in applied if ref.key == key]
