"""A plan for a person: tenants with the same to do once, every step by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TextIO

import msgspec

from ledger.errors import for_tenant
from ledger.estimate import Estimate
from ledger.fleet.planning import FleetPlan, PlannedMigration, TenantPlan
from ledger.plan import Undo
from ledger.render.columns import Column
from ledger.render.estimates import estimate_text, fleet_estimate_lines
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import count_text, one_line, plain, seconds_text, step_name, write_lines

_COLUMNS: Final = (
    Column("tenant", "Tenant"),
    Column("engine", "Engine"),
    Column("version", "Version"),
    Column("migration", "Migration"),
    Column("direction", "Direction"),
    Column("steps", "Steps", number=True),
    Column("problem", "Problem"),
)
NAMES_SHOWN: Final = 5


def write_plan(plan: FleetPlan, *, form: Format, out: TextIO, with_sql: bool = False) -> None:
    """The plan as text, JSON, or one row for each tenant and migration. `with_sql` shows the statements."""
    if form == "json":
        write_json(plan, out=out)
    elif form == "table":
        write_lines(plan_lines(plan, with_sql=with_sql), out=out)
    else:
        write_rows(_rows(plan), _COLUMNS, form=form, out=out)


def _rows(plan: FleetPlan) -> Iterator[dict[str, Any]]:
    for tenant in plan.tenants:
        row = {"tenant": tenant.tenant, "engine": tenant.engine, "version": tenant.version}
        for migration in tenant.migrations:
            what = {
                "migration": migration.id,
                "direction": migration.direction,
                "steps": len(migration.steps),
            }
            yield {**row, **what, "problem": tenant.problem}
        if tenant.problem and not tenant.migrations:
            yield {
                **row,
                "migration": None,
                "direction": None,
                "steps": 0,
                "problem": tenant.problem,
            }


def plan_lines(plan: FleetPlan, *, with_sql: bool) -> Iterator[str]:
    """Warnings, then each group of tenants that have the same to do."""
    for warning in plan.warnings:
        yield f"warning: {one_line(warning)}"
    total, pending = len(plan.tenants), len(plan.pending)
    if not pending:
        are = "is" if total == 1 else "are"
        yield f"Nothing to do: {count_text(total, 'tenant')} {are} current."
        return
    groups: dict[tuple[str | None, bytes, str, tuple[str, ...]], list[TenantPlan]] = {}
    texts: dict[int, bytes] = {}
    for tenant in plan.pending:
        shared = id(tenant.migrations)
        if shared not in texts:
            texts[shared] = msgspec.json.encode(tenant.migrations)
        key = (tenant.version, texts[shared], tenant.problem, tenant.in_part)
        groups.setdefault(key, []).append(tenant)
    for group in sorted(groups.values(), key=len, reverse=True):
        yield from _group(group, with_sql=with_sql)
        yield ""
    current = total - pending
    rest = f"; {current:,} {'is' if current == 1 else 'are'} current" if current else ""
    if plan.estimate is not None:
        yield from fleet_estimate_lines(plan.estimate)
    refused = sum(bool(tenant.problem) for tenant in plan.pending)
    rest += f"; {refused:,} would be refused" if refused else ""
    changed = pending - refused
    yield f"{plan.command.capitalize()} would change {changed:,} of {count_text(total, 'tenant')}{rest}."
    yield "Nothing was touched."


def _group(group: list[TenantPlan], *, with_sql: bool) -> Iterator[str]:
    names = ", ".join(one_line(tenant.tenant) for tenant in group[:NAMES_SHOWN])
    more = f" and {len(group) - NAMES_SHOWN:,} more" if len(group) > NAMES_SHOWN else ""
    version, in_part = group[0].version, ", ".join(group[0].in_part)
    at = f"at {version}" if version else "at no version" if in_part else "new"
    at += f" and a part of {in_part}" if in_part else ""
    at = "of another ledger" if group[0].owner else at
    yield f"{count_text(len(group), 'tenant')}, {at}: {names}{more}"
    if group[0].problem:
        yield f"  refused: {one_line(group[0].problem)}"
        if group[0].hint:
            whose = group[0].tenant if len(group) == 1 else None
            yield f"  hint: {one_line(for_tenant(group[0].hint, whose))}"
    for number, migration in enumerate(group[0].migrations):
        estimates = [tenant.estimates[number] for tenant in group if tenant.estimates]
        yield from _migration(migration, estimates, with_sql=with_sql)


def _migration(
    migration: PlannedMigration, estimates: list[Estimate], *, with_sql: bool
) -> Iterator[str]:
    sign = "+" if migration.direction == "up" else "-"
    words = [count_text(len(migration.steps), "step")]
    if landed := sum(step.landed for step in migration.steps):
        words[0] += f", {landed} of them landed"
    if estimates:
        words.append(estimate_text(estimates))
    elif migration.estimated_seconds is not None:
        words.append(f"about {seconds_text(migration.estimated_seconds)}")
    if migration.how != "script":
        words[0] = one_line(migration.how)
    if migration.lost:
        words.append(f"would lose {one_line(migration.lost)}")
    yield f"  {sign} {migration.id} {one_line(migration.name)} ({', '.join(words)})"
    if migration.description:
        yield f"      {one_line(migration.description)}"
    if undo := _undo(migration.undo):
        yield f"      rollback: {undo}"
    for note in migration.notes:
        yield f"      note: {one_line(note)}"
    for step in migration.steps:
        guard = f"  (skipped if {one_line(step.skip_if)})" if step.skip_if else ""
        if step.up_step is not None:
            guard = f"  (skipped: {one_line(step.skip_if)})"
        guard = "  (has landed)" if step.landed else guard
        yield f"      {step_name(step.number, step.name)}{guard}"
        if with_sql:
            for line in plain(step.sql).splitlines():
                yield f"         {line}"


def _undo(undo: Undo | None) -> str:
    """What a rollback will be able to do, where it is not just the down steps."""
    if undo is None or undo.how == "script":
        return ""
    if undo.how == "none":
        return "no down steps, and this run takes no backup before it"
    if not undo.others:
        return "no down steps: from its backup, which loses what is written after it"
    others = ", ".join(undo.others)
    return (
        f"no down steps, and the backup is from before {undo.others[0]}: only together with"
        f' {others} (backup = "each" keeps one for it alone)'
    )
