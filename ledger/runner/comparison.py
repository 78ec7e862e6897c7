"""What a tenant should be: the reference schema of what is applied; and in what it is not so.

The measure is carried along. A migration makes the next reference of the one before it; a
difference that was there before the migration is there afterwards, until it is gone or a person
accepts it. For tenants that stand alike this is one comparison of two fingerprints. Only for
one that differs are schemas read: the references that the ledger keeps, what other tenants with
the same applied set agree on, and what its migrations make of an empty scratch place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ledger import events as ev
from ledger.dialects import dialect_of
from ledger.dialects.steps import SkipIf, Step
from ledger.drift import carried, compare, replayed, tolerated, unexplained, visible, without
from ledger.engines.base import Engine, Session, Target
from ledger.errors import LedgerError
from ledger.events import AnyEvent, Change, Mark, MigrationRef
from ledger.plan import Catalogue
from ledger.projections import TenantState
from ledger.runner.context import RunContext
from ledger.runner.kept import kept_migration
from ledger.runner.past import Then
from ledger.runner.ran import Ran, fold_ran, what_ran
from ledger.schema import Schema, encode_schema, fingerprint
from ledger.scripts.created import Ownership

ROWS: Final = frozenset({"dml", "query", "transaction"})
"""Kinds of statements that make no schema: a replay leaves them out, since it needs no rows."""

NOT_KEPT = Change(kind="schema", name="(all)", how="changed")
"""All that can be said of a difference from a schema whose content no ledger has."""


class News(msgspec.Struct, frozen=True):
    """Events about a tenant's schema, and the schemas that the ledger should keep with them."""

    events: tuple[AnyEvent, ...] = ()
    scripts: dict[str, str] = {}


class View(NamedTuple):
    """One open tenant, with what it takes to say what it should be."""

    ctx: RunContext
    engine: Engine
    target: Target
    session: Session
    catalogue: Catalogue

    @property
    def state(self) -> TenantState:
        """The tenant as far as this run knows."""
        return self.ctx.state(self.target.name)

    async def differences(
        self, live: Schema, expected: str, refs: Sequence[MigrationRef]
    ) -> tuple[Change, ...]:
        """In what the tenant is not as `expected`, where nothing else says that it should be as it is."""
        references = self.ctx.references
        if references.seen(live) == expected or not expected:
            return ()
        known = await references.schema(expected) or await self.replay(refs)
        if known is None:
            return (NOT_KEPT,)
        changes = compare(self.visible(known), self.visible(live))
        if changes:
            await references.ask_peers()
        common = references.agreed(self.target, tuple(refs)) if changes else ""
        others = await references.schema(common) if common != expected else None
        if others is not None:
            changes = unexplained(changes, live, others, whole=True)
        made = await self.replay(refs) if changes else None
        return changes if made is None else unexplained(changes, live, made, whole=False)

    async def replay(self, refs: Sequence[MigrationRef]) -> Schema | None:
        """What these migrations make of an empty scratch place.

        None where that cannot be known: Python, statements that could reach beyond that
        place, guards that ask for rows, no right to a scratch place.
        """
        return await self.ctx.references.replay(self.target, refs, lambda: _replay(self, refs))

    async def made_by(self, refs: Sequence[MigrationRef]) -> frozenset[str]:
        """The names, in small letters and as schemas have them, of what these migrations create.

        Leaves out migrations whose text cannot be had.
        """
        ownership = Ownership(self.engine.dialect)
        ran = await what_ran(self.ctx.store, self.target.name) if refs else {}
        for ref in refs:
            try:
                kept = await kept_migration(self.ctx, ref, self.engine.dialect, self.catalogue)
                migration = self.ctx.bound(kept, self.target.variables)
            except LedgerError:
                continue
            known = ran.get(ref.key, Ran())
            fold_ran(ownership, migration, known, self.target.variables)
        prefix = self.target.prefix
        return frozenset(_neutral(item.name, prefix).lower() for item in ownership.owned)

    def visible(self, schema: Schema) -> Schema:
        """What of it counts for this tenant."""
        return visible(schema, self.target.ignore, prefix=self.target.prefix)


NO_NEWS: Final = News()


class Comparison:
    """What one tenant should be (`expected`) and was `found` to be, as fingerprints, while it is worked on.

    `changes` is in what the two differ.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.expected = view.ctx.references.expected(view.target)
        self.found = self.expected
        self.changes: tuple[Change, ...] = ()
        self._midway = False
        self._mark = Mark()
        self._live: Schema | None = None

    async def look(self) -> News:
        """Compare a tenant that is at a migration's end, and say what is news of it."""
        if not self.expected:
            return NO_NEWS
        self._mark = await self.view.session.mark()
        if self._mark.fingerprint == self.expected:
            return self.news()
        await self.compare(await self.view.session.schema(), self._mark)
        news = self.news()
        if not self.changes:
            self.expected = self.found
        return news

    async def compare(self, live: Schema, mark: Mark | None = None) -> tuple[Change, ...]:
        """In what the live schema, just read, is not as it should be."""
        view = self.view
        if not self.expected:
            return ()
        self._live, self.found = live, view.ctx.references.seen(live)
        self.changes = await view.differences(live, self.expected, view.state.applied)
        if mark is None and (self.changes or view.state.drift == "schema"):
            mark = await view.session.mark()
        self._mark = msgspec.structs.replace(mark or Mark(), fingerprint=self.found)
        return self.changes

    def news(self, *, accept: bool = False) -> News:
        """The event, if any, that the last comparison calls for; `accept`: a person takes it as it is."""
        if not self.changes or self._live is None:
            if self.view.state.drift != "schema":
                return NO_NEWS
            return News((cleared(self.expected, self._mark),))
        if accept:
            return accepted(
                self.expected, self._live, self.changes, self._mark, self.view.ctx.reason
            )
        if self._is_recorded():
            return NO_NEWS
        return drifted(self.expected, self._live, self.changes, self._mark)

    def _is_recorded(self) -> bool:
        """Whether the ledger has exactly this difference as the tenant's last."""
        state, mark = self.view.state, self._mark
        return (state.drift, state.reference) == ("schema", self.expected) and (
            state.mark is not None and state.mark.fingerprint == mark.fingerprint
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """For people: that the tenant is not as it should be, if so."""
        if not self.changes:
            return ()
        return (f"not as its migrations define: {changes_text(self.changes)}",)

    def take_as_seen_last(self) -> None:
        """For a tenant in the middle of a migration: before it, it was as it was looked at last."""
        self._midway = True
        mark = self.view.state.mark
        self.found = (mark.fingerprint if mark is not None else None) or self.expected

    async def after(
        self,
        mark: Mark,
        schema: Schema | None,
        was: Sequence[MigrationRef],
        now: Sequence[MigrationRef],
        *,
        should: Then | None = None,
        guards: Sequence[SkipIf] = (),
        forgotten: Sequence[MigrationRef] = (),
    ) -> News:
        """A command has made `now` of the applied set `was`: say if the tenant is not as it should be.

        `should` is what it should be, where that is known from before. `guards` are those that held.
        `forgotten` are migrations that count no more and were not undone.
        """
        then = await self._since(should) if should is not None and should.expected else []
        if not then and self.found == self.expected:
            self.expected = self.found = mark.fingerprint or ""
            return NO_NEWS
        if then and self._midway:
            # What has landed in part is still there: that is neither drift nor to be the measure.
            self.expected, self.found = then[-1], mark.fingerprint or ""
            measure = ev.DriftDetected(kind="cleared", aside=True, reference=then[-1])
            return await self._keeping(measure) if then[-1] != mark.fingerprint else NO_NEWS
        view, references = self.view, self.view.ctx.references
        fits = schema is not None and fingerprint(schema) == mark.fingerprint
        live = schema if fits else await references.schema(mark.fingerprint or "")
        if live is None:
            live = await view.session.schema()
        made = await view.made_by(forgotten)
        for reference in then or [references.seen(await self._next(live, was, now, guards, made))]:
            self.expected = reference
            self.changes = await view.differences(live, reference, now)
            if not self.changes:
                break
        self.found = references.seen(live)
        if not self.changes:
            self.expected = self.found
            return NO_NEWS
        news = drifted(self.expected, live, self.changes, mark)
        kept = await self._keeping(*news.events)
        return News(kept.events, kept.scripts | news.scripts)

    async def _since(self, then: Then) -> list[str]:
        """What it should have been then, and that with what was accepted since."""
        references = self.view.ctx.references
        found = [then.expected]
        schema = await references.schema(then.expected)
        for expected, accepted in then.accepted:
            before = await references.schema(expected)
            after = await references.schema(accepted)
            if schema is not None and before is not None and after is not None:
                schema = carried(schema, before, after)
                found.append(references.seen(schema))
        return found

    async def _keeping(self, *events: AnyEvent) -> News:
        """The events, with the reference that they name."""
        schema = await self.view.ctx.references.schema(self.expected)
        text = "" if schema is None else encode_schema(schema).decode()
        return News(events, {self.expected: text} if text else {})

    async def _next(
        self,
        live: Schema,
        was: Sequence[MigrationRef],
        now: Sequence[MigrationRef],
        guards: Sequence[SkipIf],
        made: frozenset[str],
    ) -> Schema:
        """The reference after the command: what it changed, and what was expected of the rest.

        What is `made` by migrations that count no more should be as it is, or is not: their next
        run finds it so.
        """
        view, references = self.view, self.view.ctx.references
        expected = await references.schema(self.expected)
        before = await references.schema(self.found)
        if expected is None or before is None:
            return live
        expected, before = (
            without(schema, lambda name: name.lower() in made) for schema in (expected, before)
        )
        reference = carried(expected, before, live)
        first = await view.replay(was)
        last = await view.replay(now) if first is not None else None
        if first is not None and last is not None:
            reference = replayed(reference, expected, first, last)
        prefix = view.target.prefix
        named = [(guard.kind, _neutral(guard.subject, prefix)) for guard in guards]
        return tolerated(reference, expected, live, named)


def drifted(expected: str, live: Schema, changes: tuple[Change, ...], mark: Mark) -> News:
    """That a tenant is not as it should be; its schema is kept, so that what comes after can be compared."""
    found = fingerprint(live)
    event = ev.DriftDetected(
        kind="schema", expected=expected, found=found, changes=changes, mark=mark
    )
    return News((event,), {found: encode_schema(live).decode()})


def accepted(
    expected: str, live: Schema, changes: tuple[Change, ...], mark: Mark, reason: str
) -> News:
    """That a person takes a tenant as it is for what it should be."""
    found = fingerprint(live)
    event = ev.DriftAccepted(
        expected=expected, found=found, changes=changes, reason=reason, mark=mark
    )
    return News((event,), {found: encode_schema(live).decode()})


def cleared(expected: str, mark: Mark) -> ev.DriftDetected:
    """That a tenant is as it should be again."""
    return ev.DriftDetected(
        kind="cleared", expected=expected, found=mark.fingerprint or "", mark=mark
    )


def changes_text(changes: Sequence[Change], *, shown: int = 3) -> str:
    """The first differences for people."""
    words = ", ".join(f"{change.kind} {change.name} {change.how}" for change in changes[:shown])
    more = len(changes) - shown
    return words + (f" and {more} more" if more > 0 else "")


async def _replay(view: View, refs: Sequence[MigrationRef]) -> Schema | None:
    steps: list[Step] = []
    dialect = dialect_of(view.engine.dialect)
    for ref in refs:
        kept = await kept_migration(view.ctx, ref, view.engine.dialect, view.catalogue)
        migration = view.ctx.bound(kept, view.target.variables)
        if migration.python is not None or migration.path.endswith(".py") or migration.sync:
            return None
        for step in migration.up.steps:
            kind = dialect.classify(step.readable)
            if kind.kind in ROWS:
                continue
            # Rows decide: of such a guard, and of what is written into a schema's own table.
            if kind.writes_schema:
                return None
            if step.skip_if is not None:
                if step.skip_if.kind == "sql":
                    return None
                if _holds(step.skip_if, await view.session.scratch_schema(steps), view.target):
                    continue
            steps.append(step)
    return await view.session.scratch_schema(steps) if steps else Schema()


def _neutral(name: str, prefix: str) -> str:
    """A name as schemas have it."""
    return "{prefix}" + name.removeprefix(prefix) if prefix and name.startswith(prefix) else name


def _holds(guard: SkipIf, schema: Schema, target: Target) -> bool:
    """Whether the object that a guard names is there."""

    def real(name: str) -> str:
        return name.replace("{prefix}", target.prefix).lower()

    wanted = guard.subject.lower()
    if guard.kind == "table":
        return any(real(table.name) == wanted for table in schema.tables)
    if guard.kind == "index":
        return any(real(each.name) == wanted for table in schema.tables for each in table.indexes)
    if guard.kind == "column":
        return any(
            f"{real(table.name)}.{each.name.lower()}" == wanted
            for table in schema.tables
            for each in table.columns
        )
    return any(real(definition.name) == wanted for definition in schema.definitions)
