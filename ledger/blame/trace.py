"""Back from the end of a stream to what brought one table or column, through renames and rebuilds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ledger import events as ev
from ledger.blame.acts import Act, By
from ledger.blame.touches import Touch
from ledger.calls.texts import shown_sql

What = Literal[
    "created", "found", "seen", "altered", "renamed", "rebuilt", "indexed", "rows", "dropped", "restored",
]  # fmt: skip
"""`found`: it was there already. `seen`: it was there afterwards, and nothing says what was before.
`rebuilt`: another table took its name, in the migration that dropped it."""

State = Literal["there", "dropped", "unknown"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done, by which event. `was` is the name before it, where that was another one.

    `migration`, `direction` and `step` say which statement did it; `sql` is that, as its text has it.
    """

    what: What
    by: By
    seq: int
    at: str
    run: str
    actor: str
    migration: str | None = None
    direction: ev.Direction = "up"
    step: int | None = None
    step_name: str = ""
    line: int | None = None
    sql: str = ""
    was: str = ""


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """What brought it, or None where nothing on record has; and what changed it since, oldest first."""

    brought: Entry | None
    changes: tuple[Entry, ...]
    state: State


def trace(acts: Sequence[Act], table: str, column: str = "") -> Traced:
    """By what is known of single statements; where that brings nothing, by whole migrations' schemas too."""
    standing = _standing(acts)
    told = _Walk(table, column).back([act for act in standing if not act.whole])
    if told.brought is not None and told.brought.what != "found":
        return told
    shown = _Walk(table, column).back(standing)
    return shown if shown.brought is not None else told


def _standing(acts: Sequence[Act]) -> list[Act]:
    """Without what a restore took back: what came after its backup."""
    found: list[Act] = []
    for act in acts:
        event = act.event.data
        if isinstance(event, ev.Restored):
            gone = {
                name for one in found if one.event.seq > event.backup_seq for name in _names(one)
            }
            found = [one for one in found if one.event.seq <= event.backup_seq]
            touches = tuple(Touch("altered", name) for name in sorted(gone))
            act = msgspec.structs.replace(act, touches=touches)
        found.append(act)
    return found


def _names(act: Act) -> set[str]:
    return {name for one in act.touches for name in (one.table, "" if one.column else one.new)} - {
        ""
    }


class _Walk:
    """Goes through acts from the last to the first, under the name that the object had then."""

    def __init__(self, table: str, column: str) -> None:
        self._table = table
        self._column = column
        self._state: State = "unknown"
        self._brought: Entry | None = None
        self._candidate: Entry | None = None
        self._over = False
        self._changes: list[Entry] = []

    def back(self, acts: Sequence[Act]) -> Traced:
        """The whole way."""
        at = len(acts) - 1
        while at >= 0 and not self._over:
            act = acts[at]
            for touch in reversed(act.touches):
                if not self._over:
                    at = self._touch(acts, at, touch)
            at -= 1
        brought = self._brought or self._candidate
        changes = [
            # Where it is brought by an older one, a guarded one has found it.
            msgspec.structs.replace(one, what="found") if one.what == "created" else one
            for one in reversed(self._changes)
            if one is not brought
        ]
        state = self._state if brought is not None or changes else "unknown"
        return Traced(brought=brought, changes=tuple(changes), state=state)

    def _touch(self, acts: Sequence[Act], at: int, touch: Touch) -> int:
        """Take one in; where to go on from: before a rebuild, that is further back."""
        act = acts[at]
        if touch.did == "renamed" and not touch.column and touch.new == self._table:
            return self._renamed(acts, at, touch)
        if touch.table != self._table:
            return at
        if act.by == "restore":
            self._change("restored", act)
        elif touch.column:
            self._of_column(act, touch)
        elif touch.did in ("created", "seen"):
            return self._created(acts, at, touch)
        elif touch.did == "dropped":
            self._dropped(act)
        elif touch.did == "renamed":
            self._dropped(act, what="renamed")
        elif not self._column:
            self._change(touch.did, act)
        return at

    def _change(self, what: What, act: Act, *, was: str = "") -> Entry:
        made = _entry(what, act, was=was)
        last = self._changes[-1] if self._changes else None
        if act.by == "hand" and last is not None and (last.what, last.by) == (what, "hand"):
            # A drift is recorded each time that it is noticed.
            self._changes.pop()
        self._changes.append(made)
        if self._state == "unknown":
            self._state = "there"
        return made

    def _dropped(self, act: Act, *, what: What = "dropped") -> None:
        if self._state == "unknown":
            self._state = "dropped"
        self._change(what, act)

    def _of_column(self, act: Act, touch: Touch) -> None:
        if touch.did == "renamed" and self._column and touch.new == self._column:
            self._change("renamed", act, was=touch.column)
            self._column = touch.column
        elif not self._column:
            self._change("altered", act)
        elif touch.column != self._column:
            return
        elif touch.did == "created":
            if touch.guarded or act.found or act.by == "hand":
                self._candidate = self._change("found" if act.found else "created", act)
            else:
                self._bring(act, "created")
        elif touch.did in ("dropped", "renamed"):
            self._dropped(act, what="dropped" if touch.did == "dropped" else "renamed")
        else:
            self._change("altered", act)

    def _created(self, acts: Sequence[Act], at: int, touch: Touch) -> int:
        act, listed = acts[at], touch.columns
        if act.found or act.by == "hand":
            if not self._column:
                self._candidate = self._change("found" if act.found else "created", act)
        elif self._column and listed is not None and self._column not in listed:
            # What brought the column is later than its table, or nothing.
            self._over = True
        elif (renamed := _renamed_away(acts, at, self._table)) is not None:
            return self._rebuilt(act, touch, renamed)
        else:
            self._bring(act, "seen" if touch.did == "seen" else "created")
        return at

    def _rebuilt(self, act: Act, made: Touch, gone: int) -> int:
        """Another table took the place of the one that was there until `gone`."""
        if self._column and made.columns is not None and self._column not in made.columns:
            self._dropped(act)
        else:
            entry = self._change("rebuilt", act)
            self._candidate = entry if self._column else self._candidate
        return gone

    def _bring(self, act: Act, what: What) -> None:
        if self._state == "unknown":
            self._state = "there"
        self._brought = _entry(what, act)
        self._over = True

    def _renamed(self, acts: Sequence[Act], at: int, touch: Touch) -> int:
        act = acts[at]
        before = _rebuilt(acts, at, temporary=touch.table, name=self._table)
        if before is None:
            if not self._column:
                self._change("renamed", act, was=touch.table)
            elif self._state == "unknown":
                self._state = "there"
            self._table = touch.table
            return at
        return self._rebuilt(act, *before)


def _renamed_away(acts: Sequence[Act], at: int, name: str) -> int | None:
    """Where the table that had the name until then got another one, under the same claim."""
    for index in range(at - 1, -1, -1):
        if acts[index].group != acts[at].group or acts[index].ref != acts[at].ref:
            return None
        for touch in acts[index].touches:
            if touch.did == "renamed" and not touch.column and touch.table == name:
                return index
    return None


def _rebuilt(
    acts: Sequence[Act], at: int, *, temporary: str, name: str
) -> tuple[Touch, int] | None:
    """How the table `temporary`, before it took the `name`, was created, and where the old one was dropped."""
    gone: int | None = None
    for index in range(at, -1, -1):
        act = acts[index]
        if act.group != acts[at].group or act.ref != acts[at].ref:
            return None
        for touch in reversed(act.touches):
            if touch.column:
                continue
            if touch.table == name and touch.did in ("dropped", "renamed") and gone is None:
                gone = index
            elif touch.table == temporary and touch.did == "created" and gone is not None:
                return touch, gone
    return None


def _entry(what: What, act: Act, *, was: str = "") -> Entry:
    event, step = act.event, act.step
    return Entry(
        what=what,
        by=act.by,
        seq=event.seq,
        at=event.at,
        run=event.run,
        actor=event.actor,
        migration=act.ref.id if act.ref is not None else None,
        direction=act.direction,
        step=step.number if step is not None else None,
        step_name=step.name if step is not None else "",
        line=step.line if step is not None else None,
        sql=shown_sql(step) if step is not None else "",
        was=was,
    )
