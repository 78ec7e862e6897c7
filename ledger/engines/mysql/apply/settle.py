"""Whether the step that was announced before a crash has landed.

In the order of docs/design.md: a person's word; what the author gave (`-- redo-safe`,
`-- verify-step`); the touched objects as they were before: it has not; as the same
step left them elsewhere in the fleet, or leaves them now in a scratch database: it
has. Invariant: anything else is in doubt, and nothing is run.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final

import msgspec

from ledger.dialects.kinds import ASKS, StatementKind
from ledger.dialects.steps import Step
from ledger.dialects.wording import reason
from ledger.drivers.mysql_errors import (
    ConnectionLostError,
    ConnectRefusedError,
    QueryError,
    QueryTimeoutError,
)
from ledger.engines.checks import is_true
from ledger.engines.mysql.apply import guards, sharing
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema import objects
from ledger.engines.mysql.scratch import database as scratch
from ledger.engines.mysql.trouble import lost
from ledger.engines.work import ABSENT, Intent, Work
from ledger.errors import InDoubtError

WRITES_ELSEWHERE: Final = "a function that it calls may have written what no rollback undoes"
SERVER_GONE: Final = frozenset({1053, 1077, 1079, 2002, 2003, 2006, 2013})
"""Not reachable, shutting down, or away in the middle."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`found` is the fingerprint of the touched objects now."""

    landed: bool
    found: str = ""


class _Tried(msgspec.Struct, frozen=True, kw_only=True):
    """The touched objects' `fingerprint` after the statement elsewhere; None, and why there is none."""

    fingerprint: str | None = None
    why: str = ""


async def verdict(
    opened: Opened,
    work: Work,
    step: Step,
    kind: StatementKind,
    intent: Intent,
    before: Mapping[str, str],
) -> Verdict:
    """The outcome of the step that `intent` announced. `before` are the touched objects' texts of
    then. Raises InDoubtError.
    """
    connection = opened.connection
    found = await objects.states(connection, objects.touched(kind), opened.names)
    now = objects.fingerprint(found, opened.names)
    if work.resolved is not None and work.resolved_step == step.number:
        return Verdict(landed=work.resolved == "applied", found=now)
    why = ""
    if intent.statement != step.sha256:
        if intent.before == ABSENT and await _made_nothing(opened, intent):
            return Verdict(landed=False, found=now)
        why = "the statement was edited after it had begun"
    elif step.redo_safe or (kind.redo_safe and kind.kind not in ASKS):
        return Verdict(landed=False)
    elif step.verify_step is not None:
        try:
            value = await guards.first_value(connection, step.verify_step)
            return Verdict(landed=is_true(value), found=now)
        except QueryError as error:
            why = f"its -- verify-step cannot run: {error}"
    elif not kind.settleable:
        why = reason(kind)
    elif kind.kind in ("dml", *ASKS) or (kind.calls and not kind.fills):
        if await _is_undone(opened, step, kind, intent):
            # The marker would say so, had its transaction committed.
            return Verdict(landed=False)
        why = WRITES_ELSEWHERE
        if kind.kind == "dml":
            why = (
                f"the table {kind.target}, or one that its triggers or the functions called here may"
                " write, is not transactional"
            )
    else:
        outcome = await _by_objects(opened, work, step, kind, intent, before, now)
        if isinstance(outcome, Verdict):
            return outcome
        why = outcome
    raise _in_doubt(opened, work, step, found, why, intent.before, now)


async def _is_undone(opened: Opened, step: Step, kind: StatementKind, intent: Intent) -> bool:
    """Whether nothing of the statement stays without the COMMIT of its transaction."""
    if kind.kind == "dml":
        return intent.before == "" and await sharing.rows_share_transaction(
            opened.connection, opened.storage, step, kind
        )
    calls = await sharing.calls(opened.connection, step, kind)
    return calls == "nothing" or (calls == "undone" and intent.before == "")


async def _by_objects(
    opened: Opened,
    work: Work,
    step: Step,
    kind: StatementKind,
    intent: Intent,
    before: Mapping[str, str],
    now: str,
) -> Verdict | str:
    """The outcome by what the touched objects are `now`; why there is none."""
    connection = opened.connection
    if kind.fills and await sharing.calls(connection, step, kind) == "anything":
        return WRITES_ELSEWHERE
    if now == intent.before:
        return Verdict(landed=False, found=now)
    if kind.fills and not await sharing.rows_share_transaction(
        connection, opened.storage, step, kind
    ):
        return f"the table {kind.target} is not transactional, and may hold some of its rows only"
    if now in work.known_after:
        return Verdict(landed=True, found=now)
    tried = await _scratch(opened, step, kind, objects.touched(kind), before)
    if tried.fingerprint is None:
        return f"the objects it touches have changed, and {tried.why}"
    if tried.fingerprint == now:
        return Verdict(landed=True, found=now)
    return "the objects it touches are neither as before nor as it leaves them"


async def _made_nothing(opened: Opened, intent: Intent) -> bool:
    """Whether what was absent when the statement was announced still is."""
    pairs = [objects.from_key(key) for key in intent.objects]
    found = await objects.states(opened.connection, pairs, opened.names)
    return bool(found) and all(state.text is None for state in found)


async def _scratch(
    opened: Opened,
    step: Step,
    kind: StatementKind,
    pairs: tuple[tuple[str, str], ...],
    before: Mapping[str, str],
) -> _Tried:
    """What the statement makes of a scratch database.

    A server that went away says nothing about the step: the next run settles the step.
    """
    try:
        if await sharing.calls(opened.connection, step, kind) != "nothing":
            return _Tried(
                why="a function that it calls could write elsewhere than in a scratch database"
            )
        return _Tried(fingerprint=await scratch.after(opened, step, pairs, before))
    except scratch.UnusableError as error:
        return _Tried(why=str(error))
    except ConnectionLostError as error:
        raise lost(error, opened.target, "looking at a scratch database") from error
    except (QueryError, ConnectRefusedError, QueryTimeoutError) as error:
        if error.code in SERVER_GONE:
            raise lost(error, opened.target, "looking at a scratch database") from error
        return _Tried(why=f"a scratch database could not tell: {error}")


def _in_doubt(
    opened: Opened,
    work: Work,
    step: Step,
    found: tuple[objects.ObjectState, ...],
    why: str,
    before: str,
    now: str,
) -> InDoubtError:
    evidence = {
        "statement": "(withheld: the step is marked secret)" if step.secret else step.sql,
        "before": before or "(nothing was looked at)",
        "found": now or "(nothing to look at)",
        "reason": why,
    }
    evidence.update(
        {state.key: "does not exist" if state.text is None else state.raw for state in found}
    )
    tenant = opened.tenant
    return InDoubtError(
        f"step {step.number} ({step.name}) had begun when an earlier run ended, and it cannot be "
        f"told whether it landed: {why}",
        step=step.number,
        evidence=evidence,
        hint=f"Look at the tenant, then type `ledger resolve {shlex.quote(tenant)} --applied`, or the same with"
        " `--not-applied` or `--restore`.",
        tenant=tenant,
        migration=work.ref.id,
        file=step.file,
        line=step.line,
    )
