"""What is to be done to tenants that stand alike, on the bulk path (ledger.fleet.bulk.run).

Invariant: a tenant with anything but plain migrations of its own before it, with
something left behind it, or that is not as it should be, has no plan here: it goes to
the fallback from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from ledger.engines import batch_for
from ledger.engines.base import Target
from ledger.fleet.bulk.messages import Task
from ledger.fleet.planning import Decisions
from ledger.plan import Catalogue, Decision
from ledger.runner.context import RunContext
from ledger.scripts.created import created_checks
from ledger.scripts.model import Migration


class BulkPlan(msgspec.Struct, frozen=True):
    """Bound migrations, in order, and the tasks that name them to workers."""

    pending: Sequence[Migration]
    tasks: Sequence[Task]


class BulkPlans:
    """Made once for all tenants that stand alike. The tenants named by `but` have none."""

    def __init__(
        self,
        ctx: RunContext,
        catalogue_of: Callable[[str], Catalogue],
        decisions: Decisions,
        but: Collection[str],
    ) -> None:
        self._ctx = ctx
        self._catalogue_of = catalogue_of
        self._decisions = decisions
        self._but = but
        self._made: dict[tuple[object, ...], BulkPlan | None] = {}
        self._kept: list[Decision] = []
        self._tasks = 0

    def of(self, target: Target) -> BulkPlan | None:
        """What is to be done to the tenant, or None if it goes to the fallback from the start."""
        state = self._ctx.state(target.name)
        if target.name in self._but or target.for_restore:
            return None
        if state.claim or state.intent or state.landed or state.resolution or state.left:
            return None
        references = self._ctx.references
        found = (state.mark.fingerprint if state.mark else None) or ""
        if state.drift or references.expected(target) != found:
            return None
        decision = self._decisions.of(target.name, self._catalogue_of(target.name))
        key = (
            id(decision),
            tuple(sorted(target.variables.items())),
            target.session,
            target.application,
            target.create,
        )
        if key not in self._made:
            self._kept.append(decision)  # An id says which object it is only while that lives.
            self._made[key] = self._plan(target, decision)
        return self._made[key]

    def _plan(self, target: Target, decision: Decision) -> BulkPlan | None:
        ctx = self._ctx
        plain = all(
            migration.python is None and not migration.sync and migration.up.transaction
            for migration in decision.pending
        )
        if decision.problem is not None or not decision.pending or not plain:
            return None
        if batch_for(target.engine) is None or any(ctx.settings.explain.values()):
            return None
        applied = list(ctx.state(target.name).applied)
        pending = [ctx.bound(migration, target.variables) for migration in decision.pending]
        shared = Target(
            name="",
            engine=target.engine,
            url=target.url,
            source="",
            session=target.session,
            application=target.application,
            create=target.create,
        )
        tasks = []
        for migration in pending:
            tasks.append(
                Task(
                    number=self._tasks,
                    ref=migration.ref,
                    section=migration.up,
                    checks=(*migration.checks, *created_checks(migration, target.variables)),
                    expected=frozenset(ref.id for ref in applied),
                    applied=tuple(applied),
                    timeout_seconds=migration.manifest.timeout_seconds
                    or ctx.settings.statement_seconds,
                    target=shared,
                )
            )
            self._tasks += 1
            applied.append(migration.ref)
        return BulkPlan(pending, tasks)
