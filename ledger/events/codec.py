"""The union of all events, and their bodies as bytes.

Invariant: bodies are encoded and decoded here alone; a stored field is never renamed or
repurposed. Readers ignore fields they do not know; a type or a body schema from the future
raises NewerLedgerError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast, get_args

import msgspec

from ledger.errors import ChainBrokenError, NewerLedgerError, StoreError
from ledger.events.base import BODY_SCHEMA, MigrationRef
from ledger.events.runs import FleetSeen, LeaseRenewed, RunFinished, RunStarted
from ledger.events.steps import StepApplied, StepSkipped, StepStarted
from ledger.events.tenants import (
    BackupCreated,
    BackupPruned,
    Baselined,
    Completed,
    DriftAccepted,
    DriftDetected,
    Explained,
    Failed,
    Imported,
    LockCleared,
    Maintained,
    Reset,
    Resolved,
    Restored,
    RolledBack,
    Started,
    TenantSkipped,
    Validated,
)

AnyEvent = (
    Started
    | BackupCreated
    | BackupPruned
    | StepStarted
    | StepApplied
    | StepSkipped
    | Validated
    | Explained
    | Completed
    | Failed
    | RolledBack
    | Restored
    | Baselined
    | Imported
    | LeaseRenewed
    | LockCleared
    | Resolved
    | TenantSkipped
    | DriftDetected
    | DriftAccepted
    | Reset
    | Maintained
    | FleetSeen
    | RunStarted
    | RunFinished
)


def migrations_in(event: AnyEvent) -> Iterator[MigrationRef]:
    """Every migration that the event names, with where its texts are kept."""
    migration = getattr(event, "migration", None)
    if isinstance(migration, MigrationRef):
        yield migration
    for field in ("migrations", "applied", "lost"):
        yield from getattr(event, field, ())


END_EVENTS: Final = (
    Completed,
    Failed,
    RolledBack,
    Restored,
    Baselined,
    Imported,
    LockCleared,
    Reset,
    Maintained,
)
"""A claim ends with the first of these on the tenant's stream."""

TYPE_NAMES: Final[Mapping[type[Any], str]] = {
    member: str(member.__struct_config__.tag) for member in get_args(AnyEvent)
}
EVENT_TYPES: Final[tuple[str, ...]] = tuple(TYPE_NAMES.values())


class _Tag(msgspec.Struct, frozen=True):
    type: str = ""
    schema: int = 0


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(AnyEvent)
_LIST_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(list[AnyEvent])
_TAG_DECODER: Final = msgspec.json.Decoder(_Tag)
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoders raise for bytes that no version ever wrote."""


DECODED_AT_ONCE: Final = 64
"""More bodies decoded together are slower again: they live so long that the garbage collector looks at them."""


HIDDEN: Final = (*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that act on a terminal and that JSON leaves as they are: DEL and C1 controls, line
separators, and those that change the direction of a text."""

_ESCAPED: Final = {code: f"\\u{code:04x}" for code in HIDDEN}


def plain_json(encoded: bytes) -> bytes:
    """The same JSON with such characters escaped: they can stand nowhere but in its strings."""
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return encoded.decode().translate(_ESCAPED).encode()


def encode_body(event: AnyEvent) -> bytes:
    """The body's stored bytes: compact JSON, UTF-8, with its `type` and `schema`."""
    return plain_json(_ENCODER.encode(event))


_OF_STEPS: Final[frozenset[type[Any]]] = frozenset({StepStarted, StepApplied, StepSkipped})


def lasting_body(event: AnyEvent) -> bytes:
    """`encode_body` of an event that can be read again. Raises StoreError for any other.

    What is appended stays for ever, and one body that no reader can decode closes the whole ledger.
    Those of steps are not read again: nothing in them comes from a caller, and they are nearly all.
    """
    try:
        body = encode_body(event)
        if event.__class__ not in _OF_STEPS:
            _DECODER.decode(body)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        name = TYPE_NAMES.get(event.__class__, event.__class__.__name__)
        raise StoreError(f"an event {name!r} cannot be recorded: {error}") from error
    return body


def decode_body(body: bytes | str, type_name: str = "", *, seq: int = 0) -> AnyEvent:
    """Read a stored body. Raises NewerLedgerError for a type or schema from the future.

    Raises ChainBrokenError, which names `seq`, for what no version ever wrote.
    """
    try:
        event: AnyEvent = _DECODER.decode(body)
    except UNREADABLE as error:
        try:
            tag = _TAG_DECODER.decode(body)
        except UNREADABLE:
            raise unreadable(seq, error) from error
        if tag.type not in EVENT_TYPES or tag.schema > BODY_SCHEMA:
            raise _newer(tag.type or type_name, tag.schema) from error
        raise unreadable(seq, error) from error
    return event


def decode_bodies(bodies: Sequence[bytes | str]) -> Iterator[AnyEvent]:
    """`decode_body` of each, with a call of the decoder for many: a replay has millions."""
    for start in range(0, len(bodies), DECODED_AT_ONCE):
        some = bodies[start : start + DECODED_AT_ONCE]
        try:
            events: list[AnyEvent] = _LIST_DECODER.decode(_json_list(some))
        except UNREADABLE:
            events = []
        # Where one is not what it should be, each is read by itself to say what is wrong with it.
        yield from events if len(events) == len(some) else [decode_body(body) for body in some]


def _json_list(bodies: Sequence[bytes | str]) -> bytes | str:
    if bodies and isinstance(bodies[0], str):
        return f"[{','.join(cast('Sequence[str]', bodies))}]"
    return b"[%b]" % b",".join(cast("Sequence[bytes]", bodies))


def unreadable(seq: int, error: Exception) -> ChainBrokenError:
    return ChainBrokenError(
        f"the body of event {seq} cannot be read: {error}",
        seq=seq,
        hint="Run `ledger verify`, which names the first event that was changed, and put back a copy of the"
        " ledger from before.",
    )


def _newer(type_name: str, schema: int) -> NewerLedgerError:
    return NewerLedgerError(
        f"the ledger holds an event {type_name!r} (schema {schema}) that this version does not know",
        hint="Upgrade migration-ledger; until then the ledger is read-only for this version.",
    )
