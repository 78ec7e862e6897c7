"""What a rehearsal reports, and what may not be rehearsed since it would reach out of the scratch place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from ledger.engines.base import Scratch
from ledger.errors import (
    LedgerError,
    TenantError,
    for_tenant,
)
from ledger.events import Change
from ledger.plan import Catalogue, Options, decide
from ledger.projections import Applied
from ledger.runner.context import RunContext
from ledger.schema import Schema
from ledger.scripts.model import Migration

Down = Literal["works", "differs", "fails", "none", "not_run"]


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """One migration's rehearsal. `down` says whether its down steps led back to the schema before it.

    `none`: it has none; `not_run`: a newer one stood in the way. `differences` are what
    is not as it was.
    """

    migration: str
    up_us: int = 0
    steps: int = 0
    checks: int = 0
    bytes: int | None = None
    down: Down = "not_run"
    down_us: int = 0
    differences: tuple[Change, ...] = ()


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tenant's rehearsal.

    `source` is `backup` (taken `source_at`) or `live`. `result`: `passed`; `current`
    (nothing was pending); `failed`, where `stage` says at what (`migrate`, `rollback`,
    `reapply`); `error`, if it could not be rehearsed. Sizes are the database's.
    """

    tenant: str
    result: Literal["passed", "current", "failed", "error"]
    source: Literal["backup", "live", ""] = ""
    source_path: str = ""
    source_at: str = ""
    migrations: tuple[Rehearsed, ...] = ()
    stage: str = ""
    failed_checks: tuple[str, ...] = ()
    bytes_before: int | None = None
    bytes_after: int | None = None
    restore_us: int = 0
    migrate_us: int = 0
    rollback_us: int = 0
    reapply_us: int = 0
    differences: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    message: str = ""
    hint: str = ""
    migration: str | None = None
    step: int | None = None
    file: str | None = None
    line: int | None = None

    @property
    def down(self) -> Down:
        """Over all its migrations: the worst word there is."""
        words = {migration.down for migration in self.migrations}
        order: tuple[Down, ...] = ("fails", "differs", "not_run", "none", "works")
        return next((word for word in order if word in words), "none")


def not_rehearsed(tenant: str, error: LedgerError) -> Rehearsal:
    """The value of a tenant that could not be rehearsed."""
    return Rehearsal(
        tenant=tenant,
        result="error",
        error=getattr(error, "code", "failed"),
        message=error.message,
        hint=for_tenant(error.hint, tenant),
    )


def refuse_outside(
    ctx: RunContext, scratch: Scratch, catalogue: Catalogue, applied: Applied, options: Options
) -> None:
    """Raises TenantError if what is pending names another database, or would open one."""
    decision = decide(applied, catalogue, options)
    for migration in decision.pending:
        bound = ctx.bound(migration, scratch.target.variables)
        for text, file, line in _texts(bound):
            word = reaches_out(text, scratch.elsewhere)
            if word:
                raise TenantError(
                    f"names {word}, which lies outside of the rehearsal and would be touched",
                    hint="Name tables without their database, or rehearse on a copy of the server.",
                    tenant=scratch.target.name,
                    migration=migration.id,
                    file=file,
                    line=line,
                )


def refuse_reaching(scratch: Scratch, schema: Schema) -> None:
    """Raises TenantError if a trigger, routine or event of the copy names another database.

    A view may: it reads.
    """
    for definition in schema.definitions:
        word = "" if definition.kind == "view" else reaches_out(definition.text, scratch.elsewhere)
        if word:
            raise TenantError(
                f"its {definition.kind} {definition.name} names {word}, which lies outside of the rehearsal and"
                " could be touched",
                hint="Name tables without their database there, or rehearse on a copy of the server.",
                tenant=scratch.target.name,
            )


def reaches_out(sql: str, elsewhere: Sequence[str]) -> str:
    """The database that a statement names, or nothing. In doubt (an alias, a literal) it does."""
    if re.search(r"(?i)\bATTACH\b", sql):
        return "ATTACH"
    for name in elsewhere:
        if name.lower() not in sql.lower():
            continue
        word = re.escape(name)
        named = rf"(?i)(?<![\w$`]){word}\s*\.|`{word}`\s*\.|\b(?:USE|DATABASE|SCHEMA)\s+`?{word}\b"
        if re.search(named, sql):
            return f"database {name}"
    return ""


def _texts(migration: Migration) -> Iterator[tuple[str, str, int]]:
    steps = (*migration.up.steps, *(migration.down.steps if migration.down else ()))
    for step in (*steps, *migration.sync):
        yield step.sql, step.file, step.line
    for check in migration.checks:
        yield check.sql, check.file, check.line
