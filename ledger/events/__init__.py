"""The vocabulary of facts: events of tenants and runs, the envelope, the codec and the hash chain."""

from __future__ import annotations

from ledger.events.base import (
    BODY_SCHEMA,
    GENESIS_HASH,
    Change,
    CheckResult,
    Command,
    Direction,
    Event,
    Holder,
    Mark,
    MigrationRef,
)
from ledger.events.codec import (
    DECODED_AT_ONCE,
    END_EVENTS,
    EVENT_TYPES,
    HIDDEN,
    TYPE_NAMES,
    AnyEvent,
    decode_bodies,
    decode_body,
    encode_body,
    lasting_body,
    migrations_in,
    plain_json,
)
from ledger.events.envelope import (
    TENANT,
    NewEvent,
    Recorded,
    append_hash,
    microseconds,
    tenant_of,
    time_text,
)
from ledger.events.runs import FleetSeen, LeaseRenewed, RunFinished, RunStarted
from ledger.events.steps import (
    AheadStep,
    ObjectEffect,
    Part,
    StepApplied,
    StepSkipped,
    StepStarted,
    found_existing,
)
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
    MaintainedTable,
    PlanChange,
    QueryPlan,
    Reset,
    Resolved,
    Restored,
    RolledBack,
    Started,
    TenantSkipped,
    Validated,
)
