"""What became of each run: also of one that was killed and has recorded no end.

Invariant: an end that was recorded is reported as it was; where there is none, it follows from what
the run recorded of its tenants, its lease, and whether its process lives.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ledger import events as ev
from ledger.fleet.recorded import read_plan
from ledger.projections import RunState, RunWord, parse_time
from ledger.runner.holder import life_of
from ledger.runner.kept import kept_text
from ledger.stores.base import Filter
from ledger.stores.store import Store

DONE: Final = {
    "migrate": "migrated",
    "rollback": "rolled_back",
    "restore": "restored",
    "baseline": "baselined",
    "reset": "reset",
    "import": "imported",
    "maintain": "maintained",
}
"""What a tenant counts as whose last word in a run of this command is a good end."""

_GOOD: Final = (
    ev.Completed,
    ev.Restored,
    ev.Baselined,
    ev.Imported,
    ev.Reset,
    ev.Maintained,
)


async def described(store: Store, runs: Iterable[RunState], *, now: datetime) -> list[RunState]:
    """Each run with its `state`; one that was abandoned with its end, and its outcomes until then."""
    found = []
    for run in runs:
        word = run_word(run, now=now)
        if word == "abandoned":
            found.append(await _abandoned(store, run))
        else:
            found.append(msgspec.structs.replace(run, state=word))
    return found


def run_word(run: RunState, *, now: datetime) -> RunWord:
    """The one word for where a run stands."""
    if run.finished_at:
        return "stopped" if run.interrupted or "not_run" in run.outcomes else "finished"
    life = life_of(run.holder, run.run) if run.holder is not None else "unknown"
    if life == "unknown":
        lease_end = parse_time(run.renewed_at) + timedelta(seconds=run.lease_seconds)
        life = "alive" if lease_end > now else "gone"
    return "running" if life == "alive" else "abandoned"


async def _abandoned(store: Store, run: RunState) -> RunState:
    """A run without an end: it ended with its last event, and its tenants are where that left them."""
    last_at = run.renewed_at
    words: dict[str, str] = {}
    async for rows in store.read(Filter(run=run.run)):
        for row in rows:
            last_at = max(last_at, row.at)
            event = row.data
            name = row.tenant or (event.of if isinstance(event, ev.TenantSkipped) else "")
            word = _word(run, event) if name else ""
            if word:
                words[name] = word
    not_run = run.tenants - len(words)
    if run.plan:
        plan = read_plan(await kept_text(store, run.plan, "plan"))
        not_run = sum(name not in words for name, _ in plan.tenants)
    outcomes: dict[str, int] = {}
    for word in words.values():
        outcomes[word] = outcomes.get(word, 0) + 1
    if not_run > 0:
        outcomes["not_run"] = not_run
    return msgspec.structs.replace(run, state="abandoned", finished_at=last_at, outcomes=outcomes)


def _word(run: RunState, event: ev.AnyEvent) -> str:
    """What a tenant counts as after this event; empty for one that says nothing of it."""
    if isinstance(event, ev.Started):
        return "interrupted"
    if isinstance(event, ev.RolledBack):
        return "rolled_back"
    if isinstance(event, _GOOD):
        return DONE.get(run.command, "current")
    if isinstance(event, ev.Failed):
        return "in_doubt" if event.in_doubt else "failed"
    if isinstance(event, ev.TenantSkipped):
        return event.code if event.code in ("unreachable", "refused") else "failed"
    if isinstance(event, ev.LockCleared):
        return "unlocked" if run.command == "unlock" else "current"
    if isinstance(event, ev.Resolved):
        return "resolved"
    if isinstance(event, ev.BackupPruned):
        return "pruned"
    return ""
