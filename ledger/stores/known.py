"""What an appending process knows of a ledger's small tables, so that an append need not ask.

Invariant: what it says holds only while the ledger ends where this process has left it (`tip`);
what a transaction added that was then not committed is forgotten as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from ledger.events.slim import narrower, shared_parts
from ledger.stores.base import Head, Prepared, Row

STREAM: Final = 1
RUN: Final = 2
ACTOR: Final = 3
TYPE: Final = 4
KINDS: Final = (STREAM, RUN, ACTOR, TYPE)
"""The kinds of `event_names`. The numbers are stored: never change one."""

NAMES_REMEMBERED: Final = 50_000
_NOWHERE: Final = Head(seq=-1, hash="")

_NAMES: Final = (
    "SELECT kind, id, name, NULL FROM event_names WHERE kind = {kind} AND name IN ({marks})"
)
_STREAMS: Final = f"""
SELECT kind, id, name, (SELECT MAX(version) FROM events WHERE stream = event_names.id)
FROM event_names WHERE kind = {STREAM} AND name IN ({{marks}})"""  # noqa: S608
_LAST: Final = "SELECT -{kind}, (SELECT MAX(id) FROM event_names WHERE kind = {kind}), NULL, NULL"
_PARTS: Final = "SELECT 0, id, text, type FROM event_parts WHERE id > ?"
_TYPES: Final = f"SELECT kind, id, name, NULL FROM event_names WHERE kind = {TYPE}"  # noqa: S608
_CLOCK: Final = "SELECT 9, NULL, NULL, {clock}"


class Known:
    """Names and parts by their texts, the streams' versions, and the last number of each kind."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know nothing."""
        self.tip = _NOWHERE
        self.unsure = False
        self.ids: dict[int, dict[str, int]] = {kind: {} for kind in KINDS}
        self.versions: dict[str, int] = {}
        self._last: dict[int, int] = {}
        self._parts: dict[tuple[int, str], int] = {}
        self._begun: set[tuple[int, str]] = set()
        self._last_part = 0

    def move(self, head: Head) -> None:
        """The ledger's head row is locked, and is this."""
        if self.unsure or head.seq < self.tip.seq:
            self.forget()
        elif head != self.tip or len(self.versions) > NAMES_REMEMBERED:
            self.versions.clear()
            self.ids[STREAM].clear()
            self._last.clear()
        self.tip = head
        self.unsure = True

    def settled(self, head: Head) -> None:
        """What was added is committed, and the ledger ends here."""
        self.tip = head
        self.unsure = False

    def missing(self, batch: Sequence[Prepared], *, prove: bool) -> dict[int, list[str]]:
        """The names by kind that have to be asked for before the batch can be chained.

        Empty if all is known. A stream that is not known is taken to be new where the request says
        so, unless `prove`: the unique index of names proves it.
        """
        wanted: dict[int, dict[str, None]] = {kind: {} for kind in KINDS}
        stale = not self._last
        for request in batch:
            stream = request.stream
            if stream not in self.versions and (
                prove or request.expected != 0 or not request.events
            ):
                wanted[STREAM][stream] = None
            who: tuple[str, str] | None = None
            for _, run, actor, _ in request.events:
                if who == (run, actor):
                    continue
                who = run, actor
                for kind, name in ((RUN, run), (ACTOR, actor)):
                    if name not in self.ids[kind]:
                        wanted[kind][name] = None
        if stale or any(wanted.values()):
            return {kind: [*names] for kind, names in wanted.items()}
        return {}

    def question(self, wanted: dict[int, list[str]], clock: str) -> tuple[str, list[object]]:
        """One query for these names, for what is stale, and for the time."""
        selects = [_CLOCK.format(clock=clock)]
        values: list[object] = []
        for kind, names in wanted.items():
            if not self._last:
                selects.append(_LAST.format(kind=kind))
            if names:
                select = _STREAMS if kind == STREAM else _NAMES
                selects.append(select.format(kind=kind, marks=", ".join("?" * len(names))))
                values += names
        if not self._last:
            selects += _TYPES, _PARTS
            values.append(self._last_part)
        return "\nUNION ALL ".join(selects), values

    def learn(self, rows: Iterable[tuple[Any, ...]]) -> object:
        """Take in what the query has found; the time as it says it."""
        clock: object = None
        parts: list[tuple[int, str, int]] = []
        for kind, number, text, more in rows:
            if kind == 9:
                clock = more
            elif kind < 0:
                self._last[-kind] = number or 0
            elif kind:
                self.ids[kind][text] = number
                if kind == STREAM and more:
                    self.versions[text] = more
            else:
                parts.append((number, text, more))
        types = {number: name for name, number in self.ids[TYPE].items()}
        for number, text, kind in parts:
            self._remember(kind, types.get(kind, ""), text, number)
        return clock

    def id(self, kind: int, name: str, seq: int, new: list[Row]) -> int:
        """The number of a name. One that the ledger does not have is added to `new`."""
        known = self.ids[kind]
        found = known.get(name)
        if found is None:
            found = known[name] = self._last[kind] = self._last[kind] + 1
            new.append((kind, found, name, seq))
        return found

    def part(
        self, type_id: int, kind: str, fields: str, seq: int, new: list[Row]
    ) -> tuple[int, str]:
        """The number and text of the shared part of a body's fields; 0 and nothing without one.

        The widest that the ledger has. If it has none, one is added to `new`: the widest with which
        another that it has begins, since a field behind it differs by tenant; or the widest of all.
        """
        found: list[str] = []
        for text in shared_parts(kind, fields):
            number = self._parts.get((type_id, text))
            if number is not None:
                return number, text
            found.append(text)
        if not found:
            return 0, ""
        chosen = next((text for text in found if (type_id, text) in self._begun), found[0])
        self._remember(type_id, kind, chosen, self._last_part + 1)
        new.append((self._last_part, type_id, chosen, seq))
        return self._last_part, chosen

    def _remember(self, type_id: int, kind: str, text: str, number: int) -> None:
        self._parts[type_id, text] = number
        self._last_part = max(self._last_part, number)
        self._begun.update((type_id, part) for part in narrower(kind, text))
