"""What may not be rehearsed, since it would reach out of the scratch place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ledger.engines.base import Scratch
from ledger.errors import TenantError
from ledger.plan import Catalogue, Options, decide
from ledger.projections import Applied
from ledger.runner.context import RunContext
from ledger.schema import Schema
from ledger.scripts.model import Migration


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
