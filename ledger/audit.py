"""Whether a ledger is what was written: the hash chain, recomputed event by event.

Invariant: pure; it is fed events and the head row, in seq order, and names the
first seq that does not hold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ledger.errors import ChainBrokenError, UsageError
from ledger.events import (
    GENESIS_HASH,
    TYPE_NAMES,
    Completed,
    FleetSeen,
    Recorded,
    RolledBack,
    RunStarted,
    event_hash,
    migrations_in,
)

_HINT: Final = (
    "Somebody changed the ledger from outside: compare it with a copy, "
    "and with the anchors that `ledger export --head` printed."
)
_ANCHOR: Final = re.compile(r"(\d{1,18})\s+([0-9a-f]{64})")


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger's end was at some time, kept elsewhere: `seq` and the hash of that event."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq} {self.hash}"


def parse_anchor(text: str, *, source: str) -> Anchor:
    """Read the line `SEQ HASH` that `ledger export --head` printed. Raises UsageError."""
    match = _ANCHOR.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{source} is not an anchor",
            hint="An anchor is the line `SEQ HASH` that `ledger export --head` prints.",
        )
    return Anchor(seq=int(match[1]), hash=match[2])


class ChainCheck:
    """A walk along the chain: feed all events in seq order, then `finish` with the head row.

    `anchors` are compared as their seqs go by. `seq` and `hash` are the last event's.
    """

    def __init__(self, anchors: Iterable[Anchor] = ()) -> None:
        self.seq = 0
        self.hash = GENESIS_HASH
        self._versions: dict[str, int] = {}
        self._anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.seq, []).append(anchor)
        self._compare_anchors()

    def feed(self, events: Sequence[Recorded]) -> None:
        """Check the next events. Raises ChainBrokenError at the first that does not hold."""
        for event in events:
            self._check(event)
            self.seq, self.hash = event.seq, event.hash
            self._versions[event.stream] = event.version
            if self._anchors:
                self._compare_anchors()

    def finish(self, *, head_seq: int, head_hash: str) -> None:
        """Compare with the head row, and with anchors beyond the end. Raises ChainBrokenError."""
        if head_seq > self.seq:
            raise _broken(
                self.seq + 1, f"the head row counts {head_seq} events, but there are {self.seq}"
            )
        if head_seq < self.seq:
            raise _broken(
                head_seq + 1, f"there are {self.seq} events, but the head row counts {head_seq}"
            )
        if head_hash != self.hash:
            raise _broken(self.seq, "the head row's hash is not that of the last event")
        if self._anchors:
            raise _broken(
                self.seq + 1,
                f"an anchor was taken at seq {min(self._anchors)}, but the ledger ends before",
            )

    def _check(self, event: Recorded) -> None:
        expected = self.seq + 1
        if event.seq != expected:
            raise _broken(expected, f"event {expected} is missing; the next one is {event.seq!r}")
        version = self._versions.get(event.stream, 0) + 1
        if event.version != version:
            raise _broken(
                event.seq, f"it is version {event.version} of {event.stream}, not {version}"
            )
        if event.prev_hash != self.hash:
            raise _broken(event.seq, "its prev_hash is not the hash of the event before it")
        if event.hash != _recomputed(event):
            raise _broken(
                event.seq, f"its content does not give its hash ({event.type} on {event.stream})"
            )

    def _compare_anchors(self) -> None:
        for anchor in self._anchors.pop(self.seq, ()):
            if anchor.hash != self.hash:
                raise _broken(
                    anchor.seq,
                    f"the anchor's hash is {anchor.hash}, and the ledger's {self.hash}: "
                    "history up to here was rewritten, or this is another ledger",
                )


class BadText(msgspec.Struct, frozen=True, kw_only=True):
    """A kept text that is not what the events say: `sha256` is its key.

    `found` is the SHA-256 of what stands there now, None where nothing does. `migration`
    (SET/VERSION) and `part` say what the text is, by `seq`, the first event that names it; a
    schema has the part `schema`, and what no event names has 0.
    """

    sha256: str
    found: str | None = None
    migration: str = ""
    part: str = ""
    seq: int = 0

    @property
    def what(self) -> str:
        """For an error: which text, and what is wrong with it."""
        of = f" of {self.migration}" if self.migration else ""
        name = f"the kept text {self.sha256}" + (f" (part {self.part!r}{of})" if self.part else "")
        if self.found is None:
            return f"{name} is missing from the ledger"
        return f"{name} was changed: its SHA-256 is {self.found}"


class TextCheck:
    """Which kept texts are not what the events say: feed all events, then `check` every text."""

    def __init__(self) -> None:
        self._named: dict[str, BadText] = {}
        self._seen: set[str] = set()
        self._bad: list[BadText] = []

    def feed(self, events: Sequence[Recorded]) -> None:
        """Remember which texts these events need."""
        for row in events:
            if row.type not in _NAMING:
                continue
            event = row.data
            if isinstance(event, FleetSeen):
                self._name(event.fleet, "", "fleet", row.seq)
            elif isinstance(event, RunStarted) and event.plan:
                self._name(event.plan, "", "plan", row.seq)
            for ref in migrations_in(event):
                for part, sha256 in ref.sources:
                    self._name(sha256, ref.id, part, row.seq)
            if isinstance(event, Completed | RolledBack) and event.mark.fingerprint:
                ref = event.migration
                self._name(event.mark.fingerprint, ref.id, "schema", row.seq)

    def check(self, sha256: str, content: bytes) -> None:
        """Compare one kept text with its key."""
        self._seen.add(sha256)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            named = self._named.get(sha256, BadText(sha256=sha256))
            self._bad.append(msgspec.structs.replace(named, found=found))

    def finish(self) -> tuple[BadText, ...]:
        """All that are changed or missing, in the order in which events name them."""
        lost = [one for key, one in self._named.items() if key not in self._seen]
        return tuple(sorted((*self._bad, *lost), key=lambda one: (one.seq, one.sha256)))

    def _name(self, sha256: str, migration: str, part: str, seq: int) -> None:
        if sha256 not in self._named:
            self._named[sha256] = BadText(sha256=sha256, migration=migration, part=part, seq=seq)


_NAMING: Final = frozenset(
    TYPE_NAMES[kind]
    for kind in TYPE_NAMES
    if {"migration", "migrations", "applied", "lost", "fleet", "plan"} & set(kind.__struct_fields__)
)


def _recomputed(event: Recorded) -> str:
    """The hash its content gives; empty for content that no store ever wrote (a NULL, a number)."""
    try:
        return event_hash(
            event.prev_hash,
            seq=event.seq,
            stream=event.stream,
            version=event.version,
            event_id=event.event_id,
            type_name=event.type,
            at=event.at,
            run=event.run,
            actor=event.actor,
            tenant=event.tenant,
            body=event.body,
        )
    except (TypeError, ValueError):
        return ""


def _broken(seq: int, reason: str) -> ChainBrokenError:
    return ChainBrokenError(f"the chain breaks at seq {seq}: {reason}", seq=seq, hint=_HINT)
