"""What a section sync could not bring about, as an event and as warnings; and what it would run."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import events as ev
from ledger.events import Change


def sync_drift(migration: str, changes: Sequence[Change]) -> tuple[ev.AnyEvent, ...]:
    """The event that says in what the tenant is not as the section sync of `migration` says, if it is not."""
    if not changes:
        return ()
    return (ev.DriftDetected(kind="schema", changes=tuple(changes), wish=migration),)


def sync_warnings(migration: str, changes: Sequence[Change]) -> list[str]:
    """The same for people: one line a difference, and that it stays."""
    return [f"{migration}: sync leaves {change_text(change)}" for change in changes]


def change_text(change: Change) -> str:
    """One difference between a section sync and the tenant in words."""
    name = f"{change.kind} {change.name}"
    if change.how == "missing":
        return f"{name} missing" + (f" ({change.expected})" if change.expected else "")
    return f"{name} as it is ({change.found}); the desired schema has {change.expected}"
