"""The vocabulary of facts: the event union, the envelope, the codec and the hash chain.

Invariant: bodies are encoded and decoded here alone; a stored field is never
renamed or repurposed. Readers ignore fields they do not know; a type or a body
schema from the future raises NewerLedgerError.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, cast, get_args

import msgspec

from ledger.errors import ChainBrokenError, NewerLedgerError, StoreError

BODY_SCHEMA: Final = 1
GENESIS_HASH: Final = "0" * 64

Command = Literal[
    "maintain",
    "migrate",
    "rollback",
    "restore",
    "baseline",
    "reset",
    "import",
    "resolve",
    "unlock",
    "prune",
]
Direction = Literal["up", "down"]


def _body_schema() -> int:
    """A factory, so that the number is always written although defaults are omitted."""
    return BODY_SCHEMA


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all event bodies. `schema` is the number of the body's shape."""

    schema: Annotated[int, msgspec.Meta(le=BODY_SCHEMA)] = msgspec.field(
        default_factory=_body_schema
    )


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a claim: enough to tell whether that very process still lives.

    `started` is the process' start time in clock ticks since boot (field 22 of
    /proc/PID/stat), 0 where the system does not tell; `nonce` is drawn once a
    process, so that nothing else can be mistaken for it.
    """

    host: str
    boot: str
    pid: int
    started: int
    nonce: str


class MigrationRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A migration as it was applied: identity, checksum, and where its text is kept.

    `sources` maps a part (`file`, `down`, `verify`, `manifest`) to the SHA-256 of
    its text in the ledger's `scripts`.
    """

    set: str
    version: str
    name: str
    checksum: str
    algorithm: str = "sha256"
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """As people write it."""
        return f"{self.set}/{self.version}"

    @property
    def key(self) -> tuple[str, str]:
        """Set and version."""
        return self.set, self.version


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the tenant looked like from outside: cheap to read again, so that change is noticed.

    `fingerprint` is the schema's hash. `cookie` and `counter` are SQLite's schema
    cookie and change counter (file header, bytes 40 and 24); `bytes` is the size
    of the database.
    """

    fingerprint: str | None = None
    cookie: int | None = None
    counter: int | None = None
    bytes: int | None = None


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One check: its name, whether it held, and the database's words if it did not."""

    name: str
    passed: bool
    detail: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference between two schemas. `kind` is table, column, index, …; `how` added, missing or changed."""

    kind: str
    name: str
    how: Literal["added", "missing", "changed"]
    expected: str = ""
    found: str = ""


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """The claim of a tenant for one migration (or one restore, baseline, …).

    `epoch` is the fence: +1 with each claim. The claim ends with the next end
    event on the stream, or when the runner's lease (`lease_seconds` after this
    event's `at`, or after the run's last lease_renewed) has run out.
    """

    command: Command
    epoch: int
    holder: Holder
    lease_seconds: float
    engine: str
    direction: Direction = "up"
    migration: MigrationRef | None = None
    steps: int = 0
    reason: str = ""


class BackupCreated(Event, frozen=True, kw_only=True, tag="backup_created"):
    """A verified backup. `covers` says what is inside (`database`, `prefix wp_2_`).

    `left_out` are objects that may be the tenant's and are not in it; `broken` are views that
    refer to what is not there, of which it holds the definition.
    """

    path: str
    bytes: int
    sha256: str
    format: Literal["sqlite", "sql.zst"]
    covers: str
    fingerprint: str | None = None
    applied: tuple[MigrationRef, ...] = ()
    duration_us: int = 0
    left_out: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


class BackupPruned(Event, frozen=True, kw_only=True, tag="backup_pruned"):
    """A backup is not to be restored any more: its file is deleted right after this is durable.

    `backup_seq` is the seq of its backup_created, whose path, size and hash these are.
    """

    backup_seq: int
    path: str
    bytes: int
    sha256: str
    reason: str = ""


class AheadStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step that makes `objects`, none of which is there, once the step before it has landed."""

    step: int
    statement: str
    objects: tuple[str, ...] = ()


class StepStarted(Event, frozen=True, kw_only=True, tag="step_started"):
    """The intent, durable before a statement whose effect cannot share a transaction with the marker.

    `before` is the fingerprint of the objects the statement touches. `ahead` are the
    steps that follow without an intent of their own. `bytes_before` is the tenant's size before the
    migration's first step, as long as its marker does not say so. `reached` is set for a step inside
    the file's own transaction: nothing from `step` on has landed unless that has committed, and
    `reached` is the step that is about to run, with this `statement`.
    """

    set: str
    version: str
    direction: Direction
    step: int
    statement: str
    before: str = ""
    objects: tuple[str, ...] = ()
    connection_id: int = 0
    ahead: tuple[AheadStep, ...] = ()
    bytes_before: int | None = None
    reached: int = 0


class StepApplied(Event, frozen=True, kw_only=True, tag="step_applied"):
    """A step's effect is durable in the tenant. `statement` is the SHA-256 of its text.

    `recovered` says that it was found done after a crash. `before` and `after`
    are fingerprints of the touched objects where the engine took them. `existed` says of a CREATE
    with IF NOT EXISTS or OR REPLACE whether the object was there before it.
    """

    set: str
    version: str
    direction: Direction
    step: int
    of: int
    name: str
    statement: str
    duration_us: int = 0
    rows: int | None = None
    recovered: bool = False
    before: str = ""
    after: str = ""
    warnings: tuple[str, ...] = ()
    existed: bool | None = None

    @property
    def found_existing(self) -> bool:
        """`existed`, also of a step that an older version recorded, in whose warnings alone it stands."""
        if self.existed is not None:
            return self.existed
        return any(map(_OLD_EXISTED.match, self.warnings))


_OLD_EXISTED: Final = re.compile(
    r"Note (?:1050|1061|1304|1359|1537): |(?:table|view|index|trigger) .+ already exists\Z",
    re.DOTALL,
)
"""The notes of MySQL and MariaDB by their numbers, and what the engine for SQLite wrote itself."""


class StepSkipped(Event, frozen=True, kw_only=True, tag="step_skipped"):
    """A step's `skip-if` held, so that nothing was to do."""

    set: str
    version: str
    direction: Direction
    step: int
    of: int
    name: str
    statement: str
    reason: str


class Validated(Event, frozen=True, kw_only=True, tag="validated"):
    """Checks were run. `passed` is true when all held.

    `against` is the fingerprint of the schema that the tenant's was compared with, where
    that was not the recorded one.
    """

    passed: bool
    checks: tuple[CheckResult, ...] = ()
    set: str | None = None
    version: str | None = None
    fingerprint: str | None = None
    against: str = ""


PlanChange = Literal["same", "changed", "new", "broken", "not_yet"]


class QueryPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the database runs one named query, in its own words; `statement` is the SHA-256 of its text.

    `how`: `changed` — another plan than before; `new` — it could not run before;
    `broken` — it cannot run any more; `not_yet` — neither before nor after. `before`
    is given where the plan changed or broke, `detail` is why it cannot run.
    """

    name: str
    statement: str
    how: PlanChange
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    detail: str = ""


class Explained(Event, frozen=True, kw_only=True, tag="explained"):
    """Named queries were explained before and after a migration (`migrate --explain`)."""

    set: str
    version: str
    plans: tuple[QueryPlan, ...]


class Completed(Event, frozen=True, kw_only=True, tag="completed"):
    """The end event of a migration that was applied: its version joins the applied set.

    `bytes_before` is the size of the tenant before its first step; the size after it is the mark's.
    """

    command: Command
    migration: MigrationRef
    duration_us: int
    mark: Mark = Mark()
    bytes_before: int | None = None


class Failed(Event, frozen=True, kw_only=True, tag="failed"):
    """The end event of a claim that did not reach its end. `error` is a stable word, `message` the database's.

    `landed` are the up steps of the migration that have landed in the tenant and stay.
    """

    command: Command
    error: str
    message: str
    direction: Direction = "up"
    set: str | None = None
    version: str | None = None
    step: int | None = None
    database_code: str = ""
    file: str | None = None
    line: int | None = None
    hint: str = ""
    in_doubt: bool = False
    evidence: dict[str, str] = {}
    duration_us: int = 0
    landed: tuple[int, ...] = ()


class RolledBack(Event, frozen=True, kw_only=True, tag="rolled_back"):
    """The end event of a migration that was undone by its down steps: its version leaves the applied set."""

    migration: MigrationRef
    duration_us: int
    reason: str = ""
    mark: Mark = Mark()


class Restored(Event, frozen=True, kw_only=True, tag="restored"):
    """The end event of a restore: the applied set is again what it was at the backup."""

    path: str
    sha256: str
    backup_seq: int
    applied: tuple[MigrationRef, ...] = ()
    lost: tuple[MigrationRef, ...] = ()
    duration_us: int = 0
    reason: str = ""
    mark: Mark = Mark()


class Baselined(Event, frozen=True, kw_only=True, tag="baselined"):
    """The end event of a baseline: these migrations count as applied without having run here."""

    migrations: tuple[MigrationRef, ...]
    reason: str = ""
    mark: Mark = Mark()


class Imported(Event, frozen=True, kw_only=True, tag="imported"):
    """The end event of an import from another tool's history table."""

    migrations: tuple[MigrationRef, ...]
    source: str
    mark: Mark = Mark()


class LeaseRenewed(Event, frozen=True, kw_only=True, tag="lease_renewed"):
    """One per runner, on the run's stream: all its claims live `lease_seconds` longer, from this `at`."""

    lease_seconds: float


class LockCleared(Event, frozen=True, kw_only=True, tag="lock_cleared"):
    """A person or a take-over ended a claim.

    `epoch` is the claim's, which the next claim fences; where a person ended it, it is the one that
    was set as the fence in the tenant before this was recorded.
    """

    epoch: int
    reason: str
    holder: Holder | None = None


class Resolved(Event, frozen=True, kw_only=True, tag="resolved"):
    """A person settled a step in doubt."""

    set: str
    version: str
    direction: Direction
    step: int
    how: Literal["applied", "not_applied", "restore"]
    reason: str = ""


class TenantSkipped(Event, frozen=True, kw_only=True, tag="tenant_skipped"):
    """A run ended for the tenant with nothing else recorded of it. `reason` is a stable word, `detail` says more.

    On the run's own stream, where the tenant's belongs to another run or another ledger at that
    moment, or where it is a source that did not answer, `of` is its name.
    """

    reason: str
    detail: str = ""
    of: str = ""

    @property
    def code(self) -> str:
        """The stable word: what `reason` is here, and in no other event."""
        return self.reason


class DriftDetected(Event, frozen=True, kw_only=True, tag="drift_detected"):
    """The live schema is not what it should be, or the tenant went back to an older state.

    With `kind` "schema", `expected` is the fingerprint of the reference schema of what is
    applied, and stays the measure until it is reached or a `drift_accepted` replaces it. `mark`
    is how the tenant looked. With "regressed", `applied` is what the tenant's own marker says
    and becomes the applied set, and `reference` is what the tenant should be with that.
    "cleared" says that an earlier drift is gone, and with `failure`
    that the last failure has left nothing behind in the tenant, with `whole` that it holds nothing
    (any more) of migrations that had landed in part; with `aside` that alone, or that
    the tenant is within reach and brought forward again: a drift of its schema stays, and a
    `reference` is what it should be. `wish` is the
    SET/VERSION whose section sync asks for what it could not bring about: the schema is
    the recorded one all the same.
    """

    kind: Literal["schema", "regressed", "cleared"]
    expected: str = ""
    found: str = ""
    changes: tuple[Change, ...] = ()
    applied: tuple[MigrationRef, ...] = ()
    wish: str = ""
    failure: bool = False
    whole: bool = False
    reference: str = ""
    mark: Mark = Mark()
    aside: bool = False


class DriftAccepted(Event, frozen=True, kw_only=True, tag="drift_accepted"):
    """A person took the live schema for what it should be from here on: `found` replaces `expected`.

    Both are fingerprints, `changes` is in what they differ, and `mark` how the tenant looked.
    """

    expected: str
    found: str
    changes: tuple[Change, ...] = ()
    reason: str = ""
    mark: Mark = Mark()


class Reset(Event, frozen=True, kw_only=True, tag="reset"):
    """The end event of a reset. `applied` is what counts as applied from here on."""

    mode: Literal["mark_only", "drop_all"]
    applied: tuple[MigrationRef, ...] = ()
    dropped: tuple[str, ...] = ()
    reason: str = ""
    mark: Mark = Mark()


class Upkept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What maintenance did to one table: `rows` deleted, set to null or archived, by which `constraint`."""

    table: str
    rows: int = 0
    constraint: str = ""


class Maintained(Event, frozen=True, kw_only=True, tag="maintained"):
    """The end event of maintenance: `rows` were deleted, mended or moved to `file`.

    `file_bytes` and `sha256` are the archive file's; it holds what of `table` was older than
    `before` by `column`. `bytes_before` and `bytes_after` are the database's.
    """

    task: Literal["optimize", "orphans", "archive"]
    rows: int = 0
    tables: tuple[Upkept, ...] = ()
    table: str = ""
    column: str = ""
    before: str = ""
    file: str = ""
    file_bytes: int = 0
    sha256: str = ""
    bytes_before: int | None = None
    bytes_after: int | None = None
    notes: tuple[str, ...] = ()
    duration_us: int = 0
    reason: str = ""
    mark: Mark = Mark()


class FleetSeen(Event, frozen=True, kw_only=True, tag="fleet_seen"):
    """The tenants that the sources name, or what those follow, are not what they were when last seen.

    `fleet` is the SHA-256 of the kept text that lists all `tenants` with their migrations,
    `previous` that of the one before it; `came` and `gone` are the names of tenants that only one
    of them lists. `scope` tells configurations that share a ledger apart.
    """

    scope: str
    fleet: str
    tenants: int
    previous: str = ""
    came: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class RunStarted(Event, frozen=True, kw_only=True, tag="run_started"):
    """One invocation began to act. `tenants` is how many it chose.

    `plan` is the SHA-256 of the kept text that lists them in order, with the migrations to apply or
    undo on each.
    """

    command: Command
    tenants: int
    holder: Holder
    lease_seconds: float
    target: str | None = None
    options: dict[str, str] = {}
    reason: str = ""
    plan: str = ""


class RunFinished(Event, frozen=True, kw_only=True, tag="run_finished"):
    """The invocation ended. `outcomes` counts tenants by outcome; `interrupted` says a signal ended it."""

    outcomes: dict[str, int]
    duration_us: int
    interrupted: bool = False


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
    one = getattr(event, "migration", None)
    if isinstance(one, MigrationRef):
        yield one
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
        except _UNREADABLE as error:
            raise _unreadable(self.seq, error) from error
        return body

    def envelope(self) -> bytes:
        """The public JSON envelope of docs/interface.md, one line without a line end. Raises ChainBrokenError."""
        self.document()
        return plain_json(
            _ENVELOPE_ENCODER.encode(
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


class _Tag(msgspec.Struct, frozen=True):
    type: str = ""
    schema: int = 0


_ENCODER: Final = msgspec.json.Encoder()
_ENVELOPE_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(AnyEvent)
_LIST_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(list[AnyEvent])
_TAG_DECODER: Final = msgspec.json.Decoder(_Tag)
_OBJECT_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
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
    except _UNREADABLE as error:
        try:
            tag = _TAG_DECODER.decode(body)
        except _UNREADABLE:
            raise _unreadable(seq, error) from error
        if tag.type not in EVENT_TYPES or tag.schema > BODY_SCHEMA:
            raise _newer(tag.type or type_name, tag.schema) from error
        raise _unreadable(seq, error) from error
    return event


def decode_bodies(bodies: Sequence[bytes | str]) -> Iterator[AnyEvent]:
    """`decode_body` of each, with a call of the decoder for many: a replay has millions."""
    for start in range(0, len(bodies), DECODED_AT_ONCE):
        some = bodies[start : start + DECODED_AT_ONCE]
        try:
            events: list[AnyEvent] = _LIST_DECODER.decode(_json_list(some))
        except _UNREADABLE:
            events = []
        # Where one is not what it should be, each is read by itself to say what is wrong with it.
        yield from events if len(events) == len(some) else [decode_body(body) for body in some]


def _json_list(bodies: Sequence[bytes | str]) -> bytes | str:
    if bodies and isinstance(bodies[0], str):
        return f"[{','.join(cast('Sequence[str]', bodies))}]"
    return b"[%b]" % b",".join(cast("Sequence[bytes]", bodies))


def _unreadable(seq: int, error: Exception) -> ChainBrokenError:
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
