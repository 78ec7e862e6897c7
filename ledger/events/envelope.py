"""An event in the ledger: the envelope around its body, and the hash chain."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any, Final

import msgspec

from ledger.errors import NewerLedgerError
from ledger.events.codec import UNREADABLE, AnyEvent, decode_body, plain_json, unreadable

_ENCODER: Final = msgspec.json.Encoder()
_OBJECT_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(dict[str, Any])


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be appended. `event_id` (unique, from the caller) makes a retry safe."""

    event_id: str
    event: AnyEvent
    run: str
    actor: str
    tenant: str | None = None


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event as it stands in the ledger. `at` is UTC, ISO 8601 with microseconds and `Z`.

    Its fields are the columns of the table of events, in their order.

    It holds nothing but scalars, so that the garbage collector need not visit it:
    a replay has tens of thousands of them alive at a time.
    """

    seq: int
    stream: str
    version: int
    event_id: str
    type: str
    at: str
    run: str
    actor: str
    tenant: str | None
    body: bytes
    prev_hash: str
    hash: str

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


def event_hash(
    prev_hash: str,
    *,
    seq: int,
    stream: str,
    version: int,
    event_id: str,
    type_name: str,
    at: str,
    run: str,
    actor: str,
    tenant: str | None,
    body: bytes,
) -> str:
    """SHA-256, in hex, over the previous hash, the envelope as a JSON array, a line feed and the body."""
    return envelope_hash(
        (prev_hash, seq, stream, version, event_id, type_name, at, run, actor, tenant), body
    )


# A copy of it is a third cheaper than a new one, for which OpenSSL looks the algorithm up.
_SHA256: Final = hashlib.sha256()


def envelope_hash(envelope: tuple[object, ...], body: bytes) -> str:
    """`event_hash`, of the envelope's fields in its order."""
    digest = _SHA256.copy()
    digest.update(b"%b\n%b" % (_ENCODER.encode(envelope), body))
    return digest.hexdigest()
