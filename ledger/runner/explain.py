"""Query plans before and after a migration: did an index go, does a query scan now?

Invariant: looking never fails a migration; what could not be explained is recorded as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger import events as ev
from ledger.dialects.steps import DialectName, sha256_hex
from ledger.engines.base import Session, Target
from ledger.engines.measured import Plan
from ledger.errors import LedgerError
from ledger.events import MigrationRef, QueryPlan
from ledger.scripts.queries import Query, bind_query

Plans = dict[str, Plan]
"""By the SHA-256 of the query's text."""


def queries_for(
    explain: Mapping[DialectName, tuple[Query, ...]], target: Target, dialect: DialectName
) -> tuple[Query, ...]:
    """The tenant's queries, bound. Raises ScriptError."""
    return tuple(bind_query(query, target.variables, dialect) for query in explain.get(dialect, ()))


async def look(session: Session, queries: Sequence[Query]) -> Plans:
    """Every query's plan as the database would run it now."""
    try:
        found = await session.explain([query.sql for query in queries])
    except LedgerError as error:
        found = tuple(Plan(error=error.message) for _ in queries)
    return {sha256_hex(query.sql): plan for query, plan in zip(queries, found, strict=True)}


def compare(
    ref: MigrationRef, queries: Sequence[Query], before: Plans, after: Plans
) -> ev.Explained:
    """The event: every query that has a plan from before, with its plans, and how they compare."""
    known = [(query, sha256_hex(query.sql)) for query in queries]
    return ev.Explained(
        set=ref.set,
        version=ref.version,
        plans=tuple(_one(query, before[sha], after[sha]) for query, sha in known if sha in before),
    )


def _one(query: Query, before: Plan, after: Plan) -> QueryPlan:
    how: ev.PlanChange = "same"
    if after.error:
        # A table that a later migration makes is not there yet: nothing broke.
        how = "not_yet" if before.error else "broken"
    elif before.error:
        how = "new"
    elif before.lines != after.lines:
        how = "changed"
    return QueryPlan(
        name=query.name,
        statement=sha256_hex(query.sql),
        how=how,
        before=before.lines if how in ("changed", "broken") else (),
        after=after.lines,
        detail=after.error,
    )


def warnings_of(explained: ev.Explained) -> list[str]:
    """A line for each query whose plan changed, or that cannot run any more."""
    lines = []
    for plan in explained.plans:
        where = f"{explained.set}/{explained.version}: query {plan.name!r}"
        if plan.how == "changed":
            lines.append(
                f"{where} has another plan: {'; '.join(plan.before)} -> {'; '.join(plan.after)}"
            )
        elif plan.how == "broken":
            lines.append(f"{where} cannot run any more: {plan.detail}")
    return lines
