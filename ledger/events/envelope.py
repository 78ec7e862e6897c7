"""An event in the ledger: the envelope around its body, and the hash that chains appends."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ledger.errors import NewerLedgerError
from ledger.events.codec import UNREADABLE, AnyEvent, decode_body, plain_json, unreadable

_ENCODER: Final = msgspec.json.Encoder()
_OBJECT_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(dict[str, Any])


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be appended."""

    event: AnyEvent
    run: str
    actor: str


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event as it stands in the ledger. `at` is UTC, ISO 8601 with microseconds and `Z`.

    `hash` is given of the last event of its append, and empty elsewhere.

    It holds nothing but scalars, so that the garbage collector need not visit it:
    a replay has tens of thousands of them alive at a time.
    """

    seq: int
    stream: str
    version: int
    type: str
    at: str
    run: str
    actor: str
    tenant: str | None
    body: bytes
    hash: str = ""

    @property
    def data(self) -> AnyEvent:
        """The decoded body. Raises NewerLedgerError for what only a newer version knows, ChainBrokenError."""
        return decode_body(self.body, self.type, seq=self.seq)

    def document(self) -> dict[str, Any]:
        """The body as a JSON object, also where its type is a newer version's. Raises ChainBrokenError."""
        with suppress(NewerLedgerError):
            _ = self.data
        try:
            body: dict[str, Any] = _OBJECT_DECODER.decode(self.body)
        except UNREADABLE as error:
            raise unreadable(self.seq, error) from error
        return body

    def envelope(self) -> bytes:
        """The public JSON envelope of docs/interface.md, one line without a line end. Raises ChainBrokenError."""
        self.document()
        return plain_json(
            _ENCODER.encode(
                _Envelope(
                    seq=self.seq,
                    stream=self.stream,
                    version=self.version,
                    type=self.type,
                    at=self.at,
                    run=self.run,
                    actor=self.actor,
                    tenant=self.tenant,
                    body=msgspec.Raw(self.body),
                )
            )
        )


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    stream: str
    version: int
    type: str
    at: str
    run: str
    actor: str
    tenant: str | None
    body: msgspec.Raw


TENANT: Final = "tenant/"
"""How the name of a tenant's stream begins."""


def tenant_of(stream: str) -> str | None:
    """The tenant whose stream this is; None for a run's."""
    return stream[len(TENANT) :] if stream.startswith(TENANT) else None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """A moment as a ledger stores it: microseconds since 1970, UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def time_text(at: int) -> str:
    """A stored time as UTC, ISO 8601, always with microseconds and `Z`, so that text sorts as time does.

    Raises OverflowError for what is no time.
    """
    # Not strftime: it writes the year 999 with three digits.
    moment = _EPOCH + timedelta(microseconds=at)
    return moment.isoformat(timespec="microseconds")[:-6] + "Z"


# A copy of it is a third cheaper than a new one, for which OpenSSL looks the algorithm up.
_SHA256: Final = hashlib.sha256()


def append_hash(
    before: bytes,
    names: Sequence[tuple[object, ...]],
    parts: Sequence[tuple[object, ...]],
    rows: Sequence[tuple[object, ...]],
) -> bytes:
    """SHA-256 over the hash before (32 bytes) and a JSON array of what an append has brought.

    That is three arrays: rows of `event_names` (by kind and id), of `event_parts` (by id) and of
    `events` (without `hash`), each an array of its columns in their order, in UTF-8 without spaces;
    in strings, only the quote, the backslash and the characters below U+0020 are escaped.
    """
    digest = _SHA256.copy()
    digest.update(before)
    digest.update(_ENCODER.encode((names, parts, rows)))
    return digest.digest()
