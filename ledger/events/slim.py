"""A body as a ledger stores it: the part that many events share, which stands once, and the event's own.

Both are cut from the body's text, whose fields stand in the order of the event's class: type and schema,
what is shared, what is not. Invariant: `whole` gives back, byte for byte, what was cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ledger.events.base import BODY_SCHEMA

NOTHING: Final = "{}"
"""What is stored of a body all of which is shared."""

_SHARED: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "started": (("epoch",),),
    "step_started": (("connection_id", "bytes_before"), ("statement",)),
    "step_applied": (("duration_us", "rows"), ("statement",)),
    "step_skipped": ((), ("statement",)),
    "validated": ((), ("fingerprint", "against"), ("checks",)),
    "completed": (("duration_us",),),
    "rolled_back": (("duration_us",),),
    "backup_created": (
        ("path",),
        ("fingerprint", "path"),
        ("applied", "left_out", "broken", "path"),
    ),
    "restored": (("path",),),
    "baselined": (("mark",),),
    "lease_renewed": ((),),
}
"""Where the shared part of a body may end: before the first of these fields that it has, or with the
body. The widest comes first; a narrower one serves where what it leaves out differs by tenant."""

_MARKS: Final = {
    kind: tuple(tuple(f',"{field}":' for field in fields) for fields in levels)
    for kind, levels in _SHARED.items()
}


def head(kind: str) -> str:
    """How every body of this type begins."""
    return f'{{"type":"{kind}","schema":{BODY_SCHEMA}'


def shared_parts(kind: str, fields: str) -> Iterator[str]:
    """Which beginnings of a body's fields may be kept once, the widest first. `fields` is a body's
    text between its head and its last brace, or a shared part of it."""
    last = len(fields) + 1
    for marks in _MARKS.get(kind, ()):
        end = len(fields)
        for mark in marks:
            place = fields.find(mark, 0, end)
            if place >= 0:
                end = place
        if 0 < end < last:
            last = end
            yield fields[:end]


def own_part(fields: str, shared: str) -> str:
    """What is left of a body's fields without their shared beginning: a JSON object."""
    rest = fields[len(shared) + 1 :]
    return f"{{{rest}}}" if rest else NOTHING


def whole(kind: str, shared: str, own: str) -> str:
    """The body's text."""
    if own == NOTHING:
        return f"{head(kind)}{shared}}}"
    return f"{head(kind)}{shared},{own[1:]}"


def narrower(kind: str, shared: str) -> Iterator[str]:
    """The beginnings of a shared part that may be kept for themselves."""
    return (part for part in shared_parts(kind, shared) if len(part) < len(shared))
