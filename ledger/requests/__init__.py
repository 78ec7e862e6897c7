"""What can be asked of a `Ledger`: one struct for each command, shared by the command line and programs."""

from __future__ import annotations

from typing import Literal

from ledger.errors import UsageError
from ledger.requests.audits import Blame as Blame
from ledger.requests.audits import Diff as Diff
from ledger.requests.audits import Show as Show
from ledger.requests.base import Count, File, Number, Request, Tenants, Word, patterns

How = Literal["auto", "script", "backup"]
BackupPolicy = Literal["always", "each", "auto", "never"]
"""When a tenant is backed up before a run changes it.

`always`: before every run that applies something. `each`: before every migration, so
that each can be undone from a backup alone. `auto`: when a pending
migration's manifest requires it, or it is destructive. `never`.
"""
Task = Literal["optimize", "orphans", "archive"]
Source = Literal["auto", "backup", "live"]


class _Of(Request, frozen=True):
    """Of the chosen tenants."""

    tenants: Tenants

    @property
    def patterns(self) -> list[str]:
        """The names and globs of the tenants."""
        return patterns(self.tenants)


class _OfAll(_Of, frozen=True):
    """Of all tenants unless some are chosen."""

    tenants: Tenants = "*"


class _OfOne(Request, frozen=True):
    """Of one tenant."""

    tenant: Word


class ReadTenants(_OfAll, frozen=True):
    """Which tenants there are."""

    method = "tenants"


class PlanMigrate(_OfAll, frozen=True, kw_only=True):
    """What `Migrate` would do; with `estimate` also how long it takes with `parallel` tenants at once."""

    method = "plan"
    to: Word | None = None
    out_of_order: bool | None = None
    estimate: bool = False
    parallel: Count | None = None
    backup: BackupPolicy | None = None


class Migrate(_OfAll, frozen=True, kw_only=True):
    """Apply what is pending, up to `to`.

    `parallel`, `backup` and `out_of_order` override the configuration. `max_failures` is a number or
    a percentage. `explain` is a file of named queries.
    """

    method = "migrate"
    to: Word | None = None
    parallel: Count | None = None
    backup: BackupPolicy | None = None
    on_error: Literal["continue", "stop"] = "continue"
    max_failures: Number | str | None = None
    out_of_order: bool | None = None
    explain: File | None = None
    reason: str = ""


class PlanRollback(_OfAll, frozen=True, kw_only=True):
    """What `Rollback` would do."""

    method = "plan_rollback"
    migration: Word | None = None
    to: Word | None = None
    run: Word | None = None
    by: How = "auto"

    def check(self) -> None:
        """Raises UsageError for more than one of `migration`, `to` and `run`."""
        if sum(value is not None for value in (self.migration, self.to, self.run)) > 1:
            raise UsageError(
                "name one migration, --to or --run, not several", hint="Leave all but one out."
            )


class Rollback(PlanRollback, frozen=True, kw_only=True):
    """Undo the last migration, one `migration`, all after `to`, or what `run` applied."""

    method = "rollback"
    parallel: Count | None = None
    backup: BackupPolicy | None = None
    reason: str = ""


class Restore(_Of, frozen=True, kw_only=True):
    """Put back the newest backup, the newest from before `at`, or the one with the seq or path `backup`."""

    method = "restore"
    backup: Count | str | None = None
    at: Word | None = None
    parallel: Count | None = None
    reason: str = ""


class ReadBackups(_OfAll, frozen=True):
    """Which backups there are."""

    method = "backups"


class VerifyBackups(_OfAll, frozen=True):
    """Read all backups through."""

    method = "verify_backups"


class PlanPrune(_Of, frozen=True, kw_only=True):
    """What `Prune` would delete."""

    method = "plan_prune"
    keep: Number | None = None
    before: Word | None = None

    def check(self) -> None:
        """Raises UsageError if neither limit is given."""
        if self.keep is None and self.before is None:
            raise UsageError(
                "say which backups may go", hint="Give --keep N, --older-than 30d, or both."
            )


class Prune(PlanPrune, frozen=True, kw_only=True):
    """Delete the backups beyond the newest `keep` that are from before the time `before`."""

    method = "prune_backups"
    reason: str = ""


class Baseline(_Of, frozen=True, kw_only=True):
    """Count everything up to `to` as applied."""

    method = "baseline"
    to: Word
    parallel: Count | None = None
    reason: str = ""


class PlanReset(_Of, frozen=True, kw_only=True):
    """What `Reset` would do to the records (up to `to`), or drop."""

    method = "plan_reset"
    to: Word | None = None
    drop_all: bool = False

    def check(self) -> None:
        """Raises UsageError unless it is exactly one of `to` and `drop_all`."""
        _require_one_way(self.to, drop_all=self.drop_all)


class Reset(PlanReset, frozen=True, kw_only=True):
    """Undo everything after `to`, change the records alone with `mark_only`, or drop all with `drop_all`."""

    method = "reset"
    mark_only: bool = False
    by: How = "auto"
    parallel: Count | None = None
    reason: str = ""

    def check(self) -> None:
        """Raises UsageError unless it is exactly `to` (perhaps with `mark_only`) or `drop_all`."""
        _require_one_way(self.to, drop_all=self.drop_all, mark_only=self.mark_only)


def _require_one_way(to: str | None, *, drop_all: bool, mark_only: bool = False) -> None:
    if (to is None) == (not drop_all) or (drop_all and mark_only):
        raise UsageError(
            "a reset goes --to a version, or drops everything with --drop-all",
            hint="Write `ledger reset --tenant NAME --to VERSION`, with --mark-only if the tenant is not to be"
            " touched, or `ledger reset --tenant NAME --drop-all`.",
        )


class PlanImport(_Of, frozen=True, kw_only=True):
    """What `Import` would count as applied."""

    method = "plan_import"
    source: Word
    table: Word | None = None
    registry: Word | None = None
    scope: Word | None = None
    set_name: Word | None = None


class Import(PlanImport, frozen=True, kw_only=True):
    """Count as applied what the history of the tool `source` says.

    `table` and `registry` say where that is if not in its usual place; `scope` is one app or project
    of the tool's, `set_name` the set on disk that it stands for.
    """

    method = "import_from"
    parallel: Count | None = None


class Unlock(_Of, frozen=True, kw_only=True):
    """End the claims on the tenants."""

    method = "unlock"
    reason: str


class Resolve(_OfOne, frozen=True, kw_only=True):
    """Settle a step in doubt."""

    method = "resolve"
    how: Literal["applied", "not_applied", "restore"]
    reason: str


class Maintain(_Of, frozen=True, kw_only=True):
    """Optimise, find orphans, or archive rows of `table` whose `column` is `older_than` an age such as `90d`.

    With `apply`, orphans are deleted and old rows archived, `batch` rows at a time.
    """

    method = "maintain"
    task: Task
    apply: bool = False
    table: Word | None = None
    column: Word | None = None
    older_than: Word | None = None
    batch: Count = 1000
    parallel: Count | None = None
    reason: str = ""


class Rehearse(_Of, frozen=True, kw_only=True):
    """Try what is pending on copies of the tenants, or of a `sample` of them."""

    method = "rehearse"
    sample: Count | None = None
    to: Word | None = None
    source: Source = "auto"
    out_of_order: bool | None = None
    parallel: Count | None = None


class Validate(_OfAll, frozen=True, kw_only=True):
    """Compare with what migrations define, or with the file `schema`; `accept` what differs, for a `reason`."""

    method = "validate"
    schema: File | None = None
    accept: bool = False
    parallel: Count | None = None
    reason: str = ""

    def check(self) -> None:
        """Raises UsageError for a difference that is accepted from a file, or without a reason."""
        if self.accept and self.schema is not None:
            raise UsageError(
                "what differs from a file cannot be accepted",
                hint="Leave --schema out: accepted is what differs from what the migrations define.",
            )
        if self.accept and not self.reason.strip():
            raise UsageError(
                "accepting a difference needs a reason", hint='Add --reason "why it may stay".'
            )
        if self.reason and not self.accept:
            raise UsageError("a reason is for --accept only", hint="Add --accept, or leave it out.")


class Verify(Request, frozen=True, kw_only=True):
    """Check the ledger itself, against an `anchor` that was kept elsewhere; `rebuild` what it derives."""

    method = "verify"
    anchor: Word | None = None
    rebuild: bool = False


class Doctor(_OfAll, frozen=True, kw_only=True):
    """Check that everything a run needs is in place; `quick` leaves out what reads every row."""

    method = "doctor"
    quick: bool = False
    parallel: Count | None = None


class ReadSchema(_OfOne, frozen=True):
    """One tenant's schema."""

    method = "schema"


class ReadStatus(_OfAll, frozen=True, kw_only=True):
    """The version and state of every tenant, now or `at` a time."""

    method = "status"
    at: Word | None = None


class _OfAny(Request, frozen=True):
    """Of one tenant, of those that a glob matches, or of all."""

    tenant: Word | None = None


class ReadHistory(_OfAny, frozen=True, kw_only=True):
    """Events; with `limit` the newest that many.

    `migration` is VERSION or SET/VERSION, `type` one type or several, `tenant`, `run` and `actor` may be
    globs. `step` is a step's number; `error` is looked for in what went wrong, in any case. Only events
    `after` a seq; with `follow` also those that are still to come, without an end.
    """

    method = "history"
    since: Word | None = None
    until: Word | None = None
    type: Tenants | None = None
    run: Word | None = None
    actor: Word | None = None
    migration: Word | None = None
    limit: Count | None = None
    step: Count | None = None
    error: Word | None = None
    after: Number | None = None
    follow: bool = False

    def check(self) -> None:
        """Raises UsageError for an end of what has none."""
        if self.follow and self.until is not None:
            raise UsageError(
                "what is to come has no --until", hint="Leave out one of --follow and --until."
            )


class ReadRuns(Request, frozen=True, kw_only=True):
    """Runs; with `limit` the newest that many."""

    method = "runs"
    limit: Count | None = None


class ReadStats(_OfAll, frozen=True, kw_only=True):
    """Sizes, growth (of one `migration`) and the slowest `steps`."""

    method = "stats"
    migration: Word | None = None
    steps: Count | None = None


class ReadDocuments(_OfAll, frozen=True):
    """Each tenant's state, shaped as a version.json."""

    method = "version_documents"
