"""Events as ledgers of schema 1 chained them: one hash an event, over its columns as text.

They are kept as they were, compressed, so that an anchor that was taken then still proves.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

OldEvent = tuple[int, str, int, str, str, str, str, str, str | None, str]
"""seq, stream, version, event id, type, at, run, actor, tenant and body."""

_ENCODER: Final = msgspec.json.Encoder()


def old_hash(before: str, event: OldEvent) -> str:
    """SHA-256, in hex, over the hash before and the columns as a JSON array, a line feed and the body."""
    envelope = _ENCODER.encode((before, *event[:9]))
    return hashlib.sha256(b"%b\n%b" % (envelope, event[9].encode())).hexdigest()
