"""Whether a ledger is what was written: the hash chain, recomputed append by append.

Invariant: pure; it is fed stored rows and the head row, in seq order, and names the
first seq that does not hold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final

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
    append_hash,
    migrations_in,
)
from ledger.events.schema_1 import OldEvent, old_hash
from ledger.projections import Fact

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


class OldCheck:
    """A walk along the chain that a ledger had before its schema 2: feed all of it in seq order.

    `anchors` that it proves are taken away. `seq` and `hash` are the last event's: the new chain
    begins with that hash.
    """

    def __init__(self, anchors: list[Anchor]) -> None:
        self.seq = 0
        self.hash = GENESIS_HASH
        self._anchors = anchors

    def feed(self, old: Sequence[OldEvent], events: Sequence[Recorded], last_hash: str) -> None:
        """The next events as they were kept, and as they are stored now. Raises ChainBrokenError."""
        for was in old:
            if was[0] != self.seq + 1:
                raise _broken(self.seq + 1, "it is missing among the events of schema 1")
            self.seq, self.hash = was[0], old_hash(self.hash, was)
            proved = Anchor(seq=self.seq, hash=self.hash)
            if proved in self._anchors:
                self._anchors.remove(proved)
        if self.hash != last_hash:
            raise _broken(self.seq, "the events of schema 1 up to here do not give their hash")
        for was, row in zip_longest(old, events):
            if was is None or row is None or not same_as_old(was, row):
                raise _broken((was or [row.seq])[0], "it is not what it was in schema 1")


def same_as_old(was: OldEvent, row: Recorded) -> bool:
    """Whether an event says what it said in schema 1, in which `tenant` was a column."""
    seq, stream, version, _, kind, at, run, actor, tenant, body = was
    return (seq, stream, version, kind, at, run, actor, tenant) == (
        row.seq,
        row.stream,
        row.version,
        row.type,
        row.at,
        row.run,
        row.actor,
        row.tenant,
    ) and {"schema": 1, **msgspec.json.decode(body)} == msgspec.json.decode(row.body)


Stored = Sequence[tuple[Any, ...]]


class ChainCheck:
    """A walk along the chain: feed all stored rows in seq order, then `finish` with the head row.

    `anchors` are compared as their seqs go by. `seq` and `hash` are those of the last append's end;
    `ancestor` is the hash that the chain begins with. What does not hold is located by the append
    that it belongs to.
    """

    def __init__(self, anchors: Iterable[Anchor] = (), *, ancestor: str = GENESIS_HASH) -> None:
        self.seq = 0
        self.hash = ancestor
        self._bytes = bytes.fromhex(ancestor)
        self._open: list[tuple[Any, ...]] = []
        self._brought: dict[Any, tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]] = {}
        self._versions: dict[int, int] = {}
        self._anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.seq, []).append(anchor)
        self._compare_anchors()

    def feed(self, rows: Stored, names: Stored = (), parts: Stored = ()) -> None:
        """Check the next rows of `events`, and what they bring of names (by kind and id) and parts.

        Raises ChainBrokenError at the first append that does not hold.
        """
        brought = self._brought
        for place, some in enumerate((names, parts)):
            for row in some:
                brought.setdefault(row[-1], ([], []))[place].append(row)
        append, before = self._open, self.seq + len(self._open)
        for row in rows:
            before += 1
            if row[0] != before:
                raise _broken(before, f"event {before} is missing; the next one is {row[0]!r}")
            append.append(row[:9])
            if row[9] is not None:
                names_of, parts_of = brought.pop(append[0][0], ([], []))
                self._end(append, names_of, parts_of, row[9])
                append = []
        self._open = append
        # An append that goes on in the next page still needs what it brings.
        if stray := brought.keys() - {row[0] for row in append[:1]}:
            raise _broken(min(stray), "names or parts are said to have come with it, and did not")

    def finish(self, *, head_seq: int, head_hash: str) -> None:
        """Compare with the head row, and with anchors beyond the end. Raises ChainBrokenError."""
        if self._open:
            raise _broken(self._open[0][0], "the append that it begins has no end")
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

    def _end(self, append: Stored, names: Stored, parts: Stored, digest: object) -> None:
        first, last = append[0][0], append[-1][0]
        try:
            self._bytes = append_hash(self._bytes, names, parts, append)
        except (TypeError, ValueError):
            # Content that no store ever wrote: a NULL, bytes that are no text.
            self._bytes = b""
        if self._bytes != digest:
            raise _broken(
                first,
                "its content does not give its hash"
                + (f" (one append with the events up to {last})" if last > first else ""),
            )
        versions = self._versions
        for seq, stream, version, *_ in append:
            expected = versions.get(stream, 0) + 1
            if version != expected:
                raise _broken(seq, f"it is version {version} of its stream, not {expected}")
            versions[stream] = version
        self.seq, self.hash = last, self._bytes.hex()
        if self._anchors:
            self._compare_anchors()

    def _compare_anchors(self) -> None:
        for seq in [seq for seq in self._anchors if seq <= self.seq]:
            for anchor in self._anchors.pop(seq):
                if anchor != Anchor(seq=self.seq, hash=self.hash):
                    raise _broken(
                        anchor.seq,
                        f"the anchor's hash is {anchor.hash}, and the ledger's "
                        f"{self.hash if anchor.seq == self.seq else 'has no append that ends there'}: "
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

    def feed(self, facts: Iterable[Fact]) -> None:
        """Remember which texts these events need."""
        for row in facts:
            seq, event = row[0], row[6]
            if event.__class__ not in _NAMING:
                continue
            if isinstance(event, FleetSeen):
                self._name(event.fleet, "", "fleet", seq)
                for sha256 in event.follows if event.partial else ():
                    self._name(sha256, "", "fleet", seq)
            elif isinstance(event, RunStarted) and event.plan:
                self._name(event.plan, "", "plan", seq)
            for ref in migrations_in(event):
                for part, sha256 in ref.sources:
                    self._name(sha256, ref.id, part, seq)
            if isinstance(event, Completed | RolledBack) and event.mark.fingerprint:
                ref = event.migration
                self._name(event.mark.fingerprint, ref.id, "schema", seq)

    def check(self, sha256: str, content: bytes) -> None:
        """Compare one kept text with its key."""
        self._seen.add(sha256)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            named = self._named.get(sha256, BadText(sha256=sha256))
            self._bad.append(msgspec.structs.replace(named, found=found))

    def finish(self) -> tuple[BadText, ...]:
        """All that are changed or missing, in the order in which events name them."""
        lost = [named for key, named in self._named.items() if key not in self._seen]
        return tuple(sorted((*self._bad, *lost), key=lambda text: (text.seq, text.sha256)))

    def _name(self, sha256: str, migration: str, part: str, seq: int) -> None:
        if sha256 not in self._named:
            self._named[sha256] = BadText(sha256=sha256, migration=migration, part=part, seq=seq)


_NAMING: Final = frozenset(
    kind
    for kind in TYPE_NAMES
    if {"migration", "migrations", "applied", "lost", "fleet", "plan"} & set(kind.__struct_fields__)
)


def _broken(seq: int, reason: str) -> ChainBrokenError:
    return ChainBrokenError(f"the chain breaks at seq {seq}: {reason}", seq=seq, hint=_HINT)
