"""Looking at one tenant: do its checks hold, is its schema the recorded one, is its marker?

Nothing in the tenant is written, and no claim is needed; what was found is an event.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from ledger import events as ev
from ledger.drift import compare
from ledger.engines.base import Engine, Session, Target
from ledger.engines.work import Marker
from ledger.errors import (
    FencedError,
    LedgerError,
    for_tenant,
)
from ledger.events import Change, CheckResult
from ledger.plan import Catalogue
from ledger.projections import TenantState
from ledger.runner.claim import require_free
from ledger.runner.comparison import Comparison, View
from ledger.runner.context import RunContext
from ledger.runner.facts import elapsed_us
from ledger.runner.kept import kept_migration
from ledger.runner.marker import in_part
from ledger.runner.past import ids, last_with, past
from ledger.runner.skipped import record_skip
from ledger.schema import Schema, fingerprint


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A migration that stands in its middle in the tenant: the last of its steps that has landed there."""

    migration: str
    direction: ev.Direction
    step: int


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `validate` saw of one tenant. `valid` is true when everything held.

    `missing` are migrations that the ledger calls applied and the tenant's
    marker does not know (the tenant regressed). `in_part` are migrations in their middle,
    `interrupted` is a restore or a reset that is. `error` is set if the tenant
    could not be looked at. `recorded` is the fingerprint of what `changes` are against.
    `accepted`: the tenant should be as it is from now on, so that `changes` are no drift.
    """

    tenant: str
    valid: bool
    checks: tuple[CheckResult, ...] = ()
    changes: tuple[Change, ...] = ()
    missing: tuple[str, ...] = ()
    in_part: tuple[Part, ...] = ()
    interrupted: Literal["", "restore", "reset"] = ""
    fingerprint: str | None = None
    recorded: str | None = None
    accepted: bool = False
    error: str | None = None
    message: str = ""
    hint: str = ""
    duration_us: int = 0


LOOKS: Final = 3
"""So often is a tenant looked at that runs change between the look and its record."""

Wanted = Callable[[Target, Session], Awaitable[Schema]]
"""Gives the schema that a tenant is to have, where that is not the recorded one."""


async def validate_tenant(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    *,
    wanted: Wanted | None = None,
    accept: bool = False,
) -> Finding:
    """Run every applied migration's checks and compare marker and schema with the ledger.

    A tenant that a run works on is not looked at (`claim_held`), and that run is left in peace.
    With `wanted` the schema is compared with that one; a difference from it says nothing
    about the migrations, so that it is no drift of theirs. With `accept` a difference from
    what the tenant should be becomes what it should be.
    """
    began = time.perf_counter_ns()
    try:
        finding = await _settled(ctx, engine, target, catalogue, wanted, accept=accept)
    except LedgerError as error:
        code = getattr(error, "code", "failed")
        if code == "unreachable":
            await record_skip(ctx, target, error)
        where = f"{error.file}:{error.line or 1}: " if error.file else ""
        finding = Finding(
            tenant=target.name,
            valid=False,
            error=code,
            message=where + error.message,
            hint=for_tenant(error.hint, target.name),
        )
    return msgspec.structs.replace(finding, duration_us=elapsed_us(began))


async def _settled(
    ctx: RunContext,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    wanted: Wanted | None,
    *,
    accept: bool,
) -> Finding:
    """What was seen and recorded of the tenant at rest; looked at again if a run came in between.

    Raises ClaimHeldError while one works on it: half of a migration is no drift.
    """
    for attempt in range(LOOKS):
        await require_free(ctx, target.name)
        async with engine.open(target) as session:
            comparison = Comparison(View(ctx, engine, target, session, catalogue))
            finding = await _look(comparison, wanted, accept=accept)
        try:
            await _record(ctx, target, finding, comparison, against_recorded=wanted is None)
            break
        except FencedError:
            if attempt == LOOKS - 1:
                raise
    return finding


async def _look(comparison: Comparison, wanted: Wanted | None, *, accept: bool) -> Finding:
    ctx, engine, target, session, catalogue = view = comparison.view
    state = ctx.state(target.name)
    checks: list[CheckResult] = []
    for ref in state.applied:
        migration = await kept_migration(ctx, ref, engine.dialect, catalogue)
        bound = ctx.bound(migration, target.variables)
        if bound.checks:
            for result in await session.check(bound.checks):
                name = f"{ref.version}: {result.name}"
                checks.append(msgspec.structs.replace(result, name=name))
    marker = await session.marker()
    known = {
        entry.ref.key
        for entry in marker.entries
        if entry.state == "applied" or entry.direction == "down"
    }
    parts = _parts(state, marker)
    whole = not parts and not marker.unfinished
    missing = tuple(ref.id for ref in state.applied if ref.key not in known)
    live = await session.schema()
    found = fingerprint(live)
    recorded = comparison.expected or None
    if wanted is not None:
        expected = await wanted(target, session)
        recorded = fingerprint(expected)
        changes = compare(view.visible(expected), view.visible(live))
    elif missing:
        changes = ()
    else:
        changes = await comparison.compare(live)
    accepted = accept and bool(changes) and whole
    return Finding(
        tenant=target.name,
        valid=all(check.passed for check in checks)
        and (accepted or not changes)
        and not missing
        and whole,
        checks=tuple(checks),
        changes=changes,
        missing=missing,
        in_part=parts,
        interrupted=marker.unfinished,
        fingerprint=found,
        recorded=recorded,
        accepted=accepted,
    )


def _parts(state: TenantState, marker: Marker) -> tuple[Part, ...]:
    """By the marker, and by an announced step of which the marker knows nothing yet."""
    found = {
        entry.ref.id: Part(migration=entry.ref.id, direction=entry.direction, step=entry.step)
        for entry in marker.entries
        if entry.direction == "down" and entry.state != "applied"
    }
    for entry in in_part(marker, ()):
        name = entry.ref.id
        found[name] = Part(migration=name, direction="up", step=entry.step)
    for half in state.halves:
        if half.intent is not None and half.id not in found:
            found[half.id] = Part(migration=half.id, direction="up", step=half.intent.step - 1)
    return tuple(found.values())


async def _record(
    ctx: RunContext,
    target: Target,
    finding: Finding,
    comparison: Comparison,
    *,
    against_recorded: bool,
) -> None:
    state = ctx.state(target.name)
    scripts: dict[str, str] = {}
    events: list[ev.AnyEvent] = [
        ev.Validated(
            passed=finding.valid,
            checks=finding.checks,
            fingerprint=finding.fingerprint,
            against="" if against_recorded else finding.recorded or "",
        )
    ]
    if finding.missing:
        applied = tuple(ref for ref in state.applied if ref.id not in finding.missing)
        events.append(
            ev.DriftDetected(
                kind="regressed",
                found=", ".join(finding.missing) + " missing",
                applied=applied,
                reference=last_with(await past(ctx, target.name), ids(applied)).expected,
            )
        )
    elif against_recorded and not finding.in_part and not finding.interrupted:
        # What a migration in its middle has made is no drift.
        news = comparison.news(accept=finding.accepted)
        events += news.events
        scripts = news.scripts
        if state.drift == "regressed" and not news.events:
            events.append(ev.DriftDetected(kind="cleared", aside=True))
    await ctx.record_last(target.name, events, scripts=scripts)
