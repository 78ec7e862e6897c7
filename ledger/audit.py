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
from ledger.events import GENESIS_HASH, Recorded, event_hash

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


def check_script(sha256: str, content: str) -> None:
    """Whether a kept text is still what its key says. Raises ChainBrokenError (seq 0)."""
    found = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    if found != sha256:
        raise ChainBrokenError(
            f"the kept text {sha256} was changed: its SHA-256 is {found}", seq=0, hint=_HINT
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
