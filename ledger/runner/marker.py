"""The tenant's marker beside the ledger: which of them knows more, and what that forbids.

Invariant: where they disagree on what is applied, the tenant is believed, since its marker commits
together with the steps; what stands in its middle is finished by the command that began it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger import events as ev
from ledger.engines.base import Session, Target
from ledger.engines.work import Marker, MarkerEntry, StepResult
from ledger.errors import GOES_ON, InDoubtError, TenantError, UnfinishedError
from ledger.plan import Catalogue, half_text, in_middle, unfinished, unfinished_problem
from ledger.projections import TenantState
from ledger.runner.claim import started
from ledger.runner.context import RunContext
from ledger.runner.facts import step_event
from ledger.runner.held import Held
from ledger.runner.kept import texts_of
from ledger.runner.past import ids, last_with, past
from ledger.scripts.model import Migration


def in_part(marker: Marker, pending: Sequence[Migration]) -> tuple[MarkerEntry, ...]:
    """The marker's migrations of which up steps have landed and which none of `pending` brings to its end."""
    coming = {migration.id for migration in pending}
    return tuple(
        entry
        for entry in marker.entries
        if entry.state != "applied"
        and entry.direction == "up"
        and entry.ref.id not in coming
        and (entry.step > len(entry.steps) or not all(step.skipped for step in entry.steps))
    )


async def require_whole(
    held: Held, marker: Marker, pending: Sequence[Migration], catalogue: Catalogue
) -> None:
    """Raises UnfinishedError for what the marker alone knows to have landed in part; it is recorded."""
    ctx, tenant = held.ctx, held.target.name
    if in_part(marker, ()) or in_middle(ctx.state(tenant)):
        await take_up(held)
    left = unfinished(ctx.state(tenant), pending)
    if left:
        held.ref, held.direction = left[0].ref, "up"
        raise unfinished_problem(left, catalogue)


async def take_up(held: Held) -> None:
    """Record what the tenant holds of migrations in part, by its marker: also that it holds nothing more."""
    ctx, tenant = held.ctx, held.target.name
    marker = await held.session.marker()
    there = {entry.ref.id for entry in marker.entries}
    halves = ctx.state(tenant).halves
    if halves and not any(half.intent is not None or half.id in there for half in halves):
        # It was put back, by other means than ours.
        await ctx.record_claimed(tenant, [ev.DriftDetected(kind="cleared", whole=True)])
    for entry in in_part(marker, ()):
        await _take_up_entry(held, entry)


async def _take_up_entry(held: Held, entry: MarkerEntry) -> None:
    """Record what the marker knows of a migration in part and the ledger does not, under the claim."""
    ctx, ref = held.ctx, entry.ref
    held.ref, held.direction = ref, "up"
    state = ctx.state(held.target.name)
    known = {step for half in state.halves if half.id == ref.id for step in half.landed}
    results = {step.number: step for step in entry.steps}
    news = [
        step_event(
            ref,
            "up",
            msgspec.structs.replace(
                results.get(step) or StepResult(number=step, name=f"step {step}", statement=""),
                recovered=True,
            ),
            of=entry.step,
        )
        for step in range(1, entry.step + 1)
        if step not in known
    ]
    if news or not known:
        if any([await ctx.store.script(sha) is None for _, sha in ref.sources]):
            # Of a ledger that was put back from a copy: an event names no text that is not kept.
            ref = msgspec.structs.replace(ref, sources=())
        began = started(held.ctx, held.epoch, held.target.engine, ref, "up", 0)
        await ctx.record_claimed(held.target.name, [began, *news])


async def refuse_forgetting(held: Held, refs: Sequence[ev.MigrationRef]) -> None:
    """Raises UnfinishedError where a migration has landed in part that is not among `refs`.

    Counting `refs` as applied makes the marker anew, which would forget how far that one has come.
    """
    ctx, tenant = held.ctx, held.target.name
    counted = {ref.id for ref in refs}
    if in_part(await held.marker(), ()):
        await take_up(held)
    for half in ctx.state(tenant).halves:
        if half.id not in counted:
            raise UnfinishedError(
                half_text(half),
                migration=half.id,
                tenant=tenant,
                hint="First bring it to its end with `ledger migrate --tenant NAME`, or undo it with"
                f" `ledger rollback {half.id} --tenant NAME`.",
            )


def half_done(marker: Marker, state: TenantState | None, tenant: str) -> TenantError | None:
    """What to say of a tenant in which a restore, a reset or a rollback stands in its middle.

    Its version says nothing about what it holds, and only that command goes on with it. A step of
    which the marker knows nothing yet stands as an intent in `state`.
    """
    if marker.unfinished:
        return TenantError(
            f"a {marker.unfinished} was interrupted; the tenant holds a part of its content",
            hint=f"Run `{GOES_ON[marker.unfinished]}` again.",
            tenant=tenant,
        )
    ids = [
        entry.ref.id
        for entry in marker.entries
        if entry.state != "applied" and entry.direction == "down"
    ]
    was = state.intent if state is not None else None
    if was is not None and was.direction == "down":
        ids.append(f"{was.set}/{was.version}")
    if not ids:
        return None
    return TenantError(
        f"the rollback of {ids[0]} stands in its middle: some of its down steps may have landed",
        hint=f"Run `ledger rollback {ids[0]} --tenant NAME`, which goes on from there.",
        tenant=tenant,
        migration=ids[0],
    )


def refuse_undoing_in_doubt(state: TenantState) -> None:
    """Raises InDoubtError once more; nothing is recorded, so that what was seen stays for `resolve`."""
    failed = state.failure
    if failed is not None and failed.in_doubt and failed.direction == "down":
        raise InDoubtError(
            failed.message,
            step=failed.step or 0,
            evidence=failed.evidence,
            hint=failed.hint,
            tenant=state.tenant,
            migration=f"{failed.set}/{failed.version}",
        )


async def disagreement(
    ctx: RunContext, target: Target, session: Session
) -> ev.DriftDetected | None:
    """The event that says so, if the tenant's marker and the ledger do not agree on what is applied."""
    marker = await session.marker()
    found = tuple(entry.ref for entry in marker.entries if entry.state == "applied")
    applied = ctx.state(target.name).applied
    have, has = [{ref.key for ref in refs} for refs in (applied, found)]
    if have == has:
        return None
    return ev.DriftDetected(
        kind="regressed",
        expected=", ".join(ref.id for ref in applied),
        found=", ".join(ref.id for ref in found),
        applied=found,
        reference=last_with(await past(ctx, target.name), ids(found)).expected,
    )


async def believe_marker(held: Held, catalogue: Catalogue) -> None:
    """Take the tenant's own word for what is applied: it commits together with the steps.

    A ledger that was put back from a copy lacks the texts of what ran since.
    """
    event = await disagreement(held.ctx, held.target, held.session)
    if event is not None:
        texts = texts_of(event.applied, catalogue)
        await held.ctx.record_claimed(held.target.name, [event], scripts=texts)
