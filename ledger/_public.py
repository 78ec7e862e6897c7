"""The names that `from ledger import …` offers. Everything else may change without notice."""

from __future__ import annotations

from ledger.api import Ledger
from ledger.api.doctor import DoctorReport
from ledger.api.maintain import MaintainReport
from ledger.api.rehearse import RehearsalReport
from ledger.api.status import Status, TenantStatus
from ledger.api.verify import VerifyReport
from ledger.errors import (
    BackupError,
    ChainBrokenError,
    CheckFailedError,
    ChecksumMismatchError,
    ClaimHeldError,
    ConfigError,
    ConflictError,
    DiskFullError,
    EmptyMigrationError,
    FencedError,
    ForeignLedgerError,
    InDoubtError,
    LedgerError,
    LockedError,
    MarkerMismatchError,
    NewerLedgerError,
    NoLedgerError,
    OutOfOrderError,
    PreflightError,
    RestoreError,
    ScriptError,
    StepFailedError,
    StoppedError,
    StoreError,
    StoreUnavailableError,
    TenantError,
    UnfinishedError,
    UnfitTenantError,
    UnknownTenantError,
    UnreachableError,
    UsageError,
    WrongLedgerError,
)
from ledger.events import Recorded as Event
from ledger.fleet.planning import FleetPlan as Plan
from ledger.fleet.report import RunReport
from ledger.fleet.validation import ValidationReport
from ledger.runner.outcome import Outcome
from ledger.schema import Schema
from ledger.stats import Stats

__all__ = [
    "BackupError",
    "ChainBrokenError",
    "CheckFailedError",
    "ChecksumMismatchError",
    "ClaimHeldError",
    "ConfigError",
    "ConflictError",
    "DiskFullError",
    "DoctorReport",
    "EmptyMigrationError",
    "Event",
    "FencedError",
    "ForeignLedgerError",
    "InDoubtError",
    "Ledger",
    "LedgerError",
    "LockedError",
    "MaintainReport",
    "MarkerMismatchError",
    "NewerLedgerError",
    "NoLedgerError",
    "OutOfOrderError",
    "Outcome",
    "Plan",
    "PreflightError",
    "RehearsalReport",
    "RestoreError",
    "RunReport",
    "Schema",
    "ScriptError",
    "Stats",
    "Status",
    "StepFailedError",
    "StoppedError",
    "StoreError",
    "StoreUnavailableError",
    "TenantError",
    "TenantStatus",
    "UnfinishedError",
    "UnfitTenantError",
    "UnknownTenantError",
    "UnreachableError",
    "UsageError",
    "ValidationReport",
    "VerifyReport",
    "WrongLedgerError",
]
