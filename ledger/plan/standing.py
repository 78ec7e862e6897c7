"""Where a tenant stands: what has landed of its migrations, and the one word for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ledger.errors import (
    UnfinishedError,
)
from ledger.plan.catalogue import Catalogue
from ledger.projections import Applied, Half, TenantState
from ledger.scripts.model import Migration

State = Literal[
    "current",
    "pending",
    "running",
    "failed",
    "in_doubt",
    "drifted",
    "regressed",
    "unreachable",
    "foreign",
    "new",
]


def unfinished(state: TenantState, pending: Sequence[Migration]) -> tuple[Half, ...]:
    """The migrations that have (perhaps) landed in part and that none of `pending` brings to its end."""
    halves = in_middle(state)
    if not halves:
        return ()
    coming = {migration.id for migration in pending}
    return tuple(half for half in halves if half.id not in coming)


def in_middle(state: TenantState) -> tuple[Half, ...]:
    """What has landed in part, and what was begun under a claim that has no end: that may have."""
    halves = state.halves
    begun, claim = state.begun, state.claim
    if begun is None or claim is None or claim.command != "migrate":
        return halves
    name = begun.id
    if claim.migration != name or any(half.id == name for half in halves):
        return halves
    return (*halves, Half(ref=begun, of=state.begun_steps))


def standing(state: TenantState) -> Applied:
    """What can be undone, oldest first: what is applied, and after it what has (perhaps) landed in part."""
    halves = in_middle(state)
    if not halves:
        return state.applied
    have = {(ref.set, ref.version) for ref in state.applied}
    more = (half.ref for half in halves if (half.ref.set, half.ref.version) not in have)
    return (*state.applied, *more)


def half_text(half: Half) -> str:
    """How far it has come."""
    steps = ", ".join(map(str, half.applied))
    of = f" of {half.of}" if half.of else ""
    if not steps and half.intent is None:
        return "it was begun by a run that has no end, and may have landed in part"
    if not steps:
        return f"a step of it was begun and has no end{of and f' ({half.of} in all)'}"
    what = f"step {steps}" if len(half.applied) == 1 else f"steps {steps}"
    return f"it has landed in part ({what}{of})"


def unfinished_problem(halves: Sequence[Half], catalogue: Catalogue) -> UnfinishedError:
    """What to say of a tenant that holds a part of a migration which is not to run."""
    half = halves[0]
    more = "".join(f"; so has {half.id}" for half in halves[1:])
    text = half_text(half)
    there = next((migration for migration in catalogue.order if migration.id == half.id), None)
    undo = f"undo it with `ledger rollback {half.id} --tenant NAME`"
    if there is not None:
        return UnfinishedError(
            f"{text}, and this run would not bring it to its end{more}",
            migration=half.id,
            file=there.path,
            hint=f"Run `ledger migrate --tenant NAME` without --to, or {undo}.",
        )
    same = next(
        (migration for migration in catalogue.order if migration.ref.checksum == half.ref.checksum),
        None,
    )
    where = f"; {same.path} has its text" if same is not None else ""
    return UnfinishedError(
        f"{text}, and no file describes it any more{where}{more}",
        migration=half.id,
        hint=f"Put the file back as {half.ref.version}_{half.ref.name}.sql in the set"
        f" {half.ref.set} and run `ledger migrate --tenant NAME`, or {undo}.",
    )


def unsettled(tenant: TenantState) -> bool:
    """Whether the last command on it may stand in its middle, or have left something behind."""
    failed = tenant.failure is not None or tenant.claim is not None
    return failed or tenant.intent is not None or bool(tenant.landed) or bool(tenant.left)


UNDOING: Final = frozenset({"rollback", "restore", "reset"})
"""Commands after which, where one was killed, a tenant may hold less than its version says."""


def interrupted(tenant: TenantState) -> bool:
    """Whether such a command was begun and has no end, though nobody is at work any more.

    Only for a tenant without a living claim.
    """
    return tenant.claim is not None and tenant.claim.command in UNDOING


def state_name(
    tenant: TenantState, *, pending: bool, running: bool, unfinished: bool = False
) -> State:
    """The one word of docs/interface.md for where a tenant stands.

    `unfinished`: it holds a part of a migration that no run brings to its end.
    """
    if running:
        return "running"
    failure = tenant.failure
    if failure is not None and failure.in_doubt:
        return "in_doubt"
    if tenant.skipped == "unreachable":
        return "unreachable"
    if tenant.drift == "regressed":
        return "regressed"
    if failure is not None or unfinished or interrupted(tenant):
        return "failed"
    if tenant.drift:
        return "drifted"
    if tenant.version == 0:
        return "new"
    return "pending" if pending else "current"
