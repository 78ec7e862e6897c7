"""One tenant's stream as what was done to its tables and columns, and by what, in the order it was done.

Invariant: what is said of a statement comes from the kept text that ran; where no text holds it (Python,
section sync), from the schemas before and after its migration; never from words made for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from ledger import events as ev
from ledger.blame.touches import Touch, all_seen, bare, of_changes, touches
from ledger.calls.texts import KeptMigration, kept_migration
from ledger.dialects import dialect_of
from ledger.dialects.steps import DialectName, Step
from ledger.drift import compare
from ledger.events import MigrationRef, Recorded
from ledger.runner.references import kept_schema
from ledger.schema import Schema
from ledger.scripts.contents import PYTHON_PART
from ledger.scripts.placeholders import bind_text
from ledger.scripts.touching import PREFIX
from ledger.stores.base import Filter
from ledger.stores.store import Store

By = Literal[
    "migration", "python", "sync", "rollback", "baseline", "import", "restore", "reset", "hand", "maintain",
]  # fmt: skip
"""What made the change. `hand`: someone, outside the ledger; a run detected it, or a person accepted it."""

TYPES: Final = (
    "started", "step_applied", "step_skipped", "completed", "rolled_back", "restored", "baselined", "imported", "reset",
    "drift_detected", "drift_accepted", "maintained",
)  # fmt: skip


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What one event says was done. `found`: the object was there, so that nothing was made.

    `group` is the same for all that was done under one claim. `whole`: it is what differs over a whole
    migration, which names no step.
    """

    event: Recorded
    by: By
    touches: tuple[Touch, ...]
    group: int
    ref: MigrationRef | None = None
    direction: ev.Direction = "up"
    step: Step | None = None
    found: bool = False
    whole: bool = False


class Acts:
    """Takes a stream's events in, in order. `variables` are the tenant's; its prefix is written `{prefix}`."""

    def __init__(self, store: Store, variables: Mapping[str, str]) -> None:
        self._store = store
        self._prefix = variables.get("prefix", "").lower()
        self._variables = {**variables, "prefix": PREFIX}
        self._kept: dict[tuple[MigrationRef, str], KeptMigration] = {}
        self._schemas: dict[str, Schema | None] = {}
        self._ref: MigrationRef | None = None
        self._engine = ""
        self._group = 0
        self._untold: By | None = None
        self._fingerprint: str | None = None
        self._indexes: dict[str, str] = {}
        self.acts: list[Act] = []

    async def read(self, stream: str) -> tuple[Act, ...]:
        """All of the stream."""
        async for rows in self._store.read(Filter(stream=stream, types=TYPES)):
            for row in rows:
                await self._take(row, row.data)
        return tuple(self.acts)

    async def _take(self, row: Recorded, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.Started):
            self._ref, self._engine, self._untold = event.migration, event.engine, None
            self._group = row.seq
        elif isinstance(event, ev.StepApplied | ev.StepSkipped):
            await self._step(row, event)
        elif isinstance(event, ev.Completed | ev.RolledBack):
            await self._ended(row, event)
        elif isinstance(event, ev.Baselined | ev.Imported):
            by: By = "baseline" if isinstance(event, ev.Baselined) else "import"
            for ref in event.migrations:
                await self._counted(row, ref, by=by)
        elif isinstance(event, ev.Restored):
            self._add(row, by="restore", touches=())
        elif isinstance(event, ev.Reset):
            dropped = tuple(Touch("dropped", bare(name)) for name in event.dropped)
            self._add(row, by="reset", touches=dropped)
        elif isinstance(event, ev.DriftAccepted):
            self._add(row, by="hand", touches=of_changes(event.changes))
        elif isinstance(event, ev.DriftDetected) and not event.wish:
            if event.kind == "schema":
                self._add(row, by="hand", touches=of_changes(event.changes))
            elif event.kind == "cleared" and not (event.aside or event.whole):
                self._cleared()
        elif isinstance(event, ev.Maintained):
            names = {one.table for one in event.tables} | ({event.table} if event.table else set())
            rows = tuple(Touch("rows", bare(name)) for name in sorted(names))
            self._add(row, by="maintain", touches=rows if event.rows else ())
        mark = getattr(event, "mark", None)
        if mark is not None and mark.fingerprint:
            self._fingerprint = mark.fingerprint

    def _add(self, row: Recorded, *, by: By, touches: tuple[Touch, ...], **more: object) -> None:
        if touches or by == "restore":
            named = tuple(
                one._replace(table=self._neutral(one.table), new=self._neutral(one.new))
                for one in touches
            )
            self.acts.append(
                Act(event=row, by=by, touches=named, group=self._group, **more)  # type: ignore[arg-type]
            )

    def _neutral(self, name: str) -> str:
        own = self._prefix and name.startswith(self._prefix)
        return PREFIX + name.removeprefix(self._prefix) if own else name

    def _cleared(self) -> None:
        """What was done by hand, and not accepted, is no more."""
        for at, act in enumerate(self.acts):
            if isinstance(act.event.data, ev.DriftDetected):
                again = tuple(one._replace(did="altered") for one in act.touches)
                self.acts[at] = msgspec.structs.replace(act, touches=again)

    async def _step(self, row: Recorded, event: ev.StepApplied | ev.StepSkipped) -> None:
        ref = self._ref
        if ref is None or ref.key != (event.set, event.version):
            return
        kept = await self._of(ref)
        parsed, step = kept.parsed, self._found(kept, event)
        if parsed is None or step is None:
            python = any(one.part == PYTHON_PART for one in kept.texts)
            sync = parsed is not None and bool(parsed.sync)
            self._untold = "python" if python else "sync" if sync else "migration"
            return
        by: By = "migration" if event.direction == "up" else "rollback"
        found = self._touches(step, parsed.dialect)
        if isinstance(event, ev.StepSkipped):
            found = tuple(one for one in found if one.did == "created" and event.direction == "up")
        self._add(
            row,
            by="sync" if step not in kept.steps(event.direction) else by,
            touches=found,
            ref=ref,
            direction=event.direction,
            step=step,
            found=isinstance(event, ev.StepSkipped) or event.found_existing,
        )

    def _found(self, kept: KeptMigration, event: ev.StepApplied | ev.StepSkipped) -> Step | None:
        """The statement in the kept text: by its hash, or, where binding made another of it, its number."""
        steps = kept.steps(event.direction)
        sync = kept.parsed.sync if kept.parsed is not None and event.direction == "up" else ()
        for step in (*steps, *sync):
            if step.sha256 == event.statement:
                return step
        at = next((step for step in steps if step.number == event.step), None)
        return at if at is not None and at.placeholders and "{" in at.sql else None

    def _touches(self, step: Step, name: DialectName) -> tuple[Touch, ...]:
        dialect = dialect_of(name)
        text = bind_text(step.readable, self._variables) if step.placeholders else step.readable
        found = []
        for one in touches(text, dialect.classify(text), dialect):
            if one.did == "indexed" and one.table:
                self._indexes[one.new] = one.table
            elif one.did == "indexed":
                one = one._replace(table=self._indexes.get(one.new, ""))
            found.append(one)
        return tuple(found)

    async def _of(self, ref: MigrationRef) -> KeptMigration:
        key = (ref, self._engine)
        if key not in self._kept:
            self._kept[key] = await kept_migration(self._store, ref, self._engine)
        return self._kept[key]

    async def _ended(self, row: Recorded, event: ev.Completed | ev.RolledBack) -> None:
        """What the schemas before and after show: of a migration whose statements no text holds, all of it;
        of others only what nothing else explains (`whole`)."""
        untold = self._untold
        after = await self._schema(event.mark.fingerprint)
        if after is None:
            return
        before = await self._schema(self._fingerprint)
        found = all_seen(after) if before is None else of_changes(compare(before, after), after)
        if untold is None:
            renamed = {
                (one.new if not one.column else one.table, one.new if one.column else "")
                for act in self.acts
                if act.group == self._group
                for one in act.touches
                if one.did == "renamed"
            }
            found = tuple(
                one
                for one in found
                if one.did == "created" and (one.table, one.column) not in renamed
            )
        up = isinstance(event, ev.Completed)
        self._add(
            row,
            by=untold or ("migration" if up else "rollback"),
            touches=found,
            ref=event.migration,
            direction="up" if up else "down",
            whole=untold is None,
        )

    async def _schema(self, fingerprint: str | None) -> Schema | None:
        if fingerprint is None:
            return None
        if fingerprint not in self._schemas:
            self._schemas[fingerprint] = await kept_schema(self._store, fingerprint)
        return self._schemas[fingerprint]

    async def _counted(self, row: Recorded, ref: MigrationRef, *, by: By) -> None:
        """What the migration would have done, which nothing did here."""
        parsed = (await self._of(ref)).parsed
        if parsed is None:
            return
        for step in (*parsed.up.steps, *parsed.sync):
            self._add(row, by=by, touches=self._touches(step, parsed.dialect), ref=ref, step=step)
