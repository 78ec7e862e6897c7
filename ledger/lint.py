"""What may be wrong with migration files, found without a tenant.

Pure: migrations in, findings out. A finding says what would happen; whether that
is meant is the author's to say.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Final, Literal

import msgspec

from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.needs import breakable
from ledger.dialects.sqlite.pragmas import switches_foreign_keys
from ledger.dialects.statements import classify
from ledger.dialects.wording import label, lost, reason
from ledger.scripts.model import Migration, MigrationSet, Section, Step
from ledger.scripts.placeholders import bind, unknown_placeholders

Severity = Literal["error", "warning"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. An `error` would stop a run or lose data by surprise; a `warning` is for the eye."""

    rule: str
    severity: Severity
    file: str
    line: int
    message: str
    hint: str = ""


Rule = Callable[[Migration], Iterator[Finding]]


Equip = Callable[[sqlite3.Connection], None]


def lint_set(
    one: MigrationSet, variables: Mapping[str, str], *, equip: Equip | None = None
) -> list[Finding]:
    """All findings of a set, by file and line. `variables` are what its placeholders stand for.

    `equip` gives a connection what its tenants' application gives it.
    """
    found: list[Finding] = []
    for migration in one.migrations:
        unknown = list(_unknown_placeholder(migration, variables))
        found += unknown
        bound = (
            migration
            if unknown or migration.manifest.bound_checksum
            else bind(migration, variables)
        )
        for rule in RULES:
            found += rule(bound)
        found += _impossible_wish(bound, equip)
        if not unknown:
            found += _refused_by_parser(bound)
    return sorted(set(found), key=lambda each: (each.file, each.line, each.rule))


def _unknown_placeholder(migration: Migration, names: Mapping[str, str]) -> Iterator[Finding]:
    for unknown in unknown_placeholders(migration, names):
        yield Finding(
            rule="unknown-placeholder",
            severity="error",
            file=unknown.file,
            line=unknown.line,
            message=f"nothing stands for {{{unknown.name}}}",
            hint="Add it to `variables`, or write `-- placeholders: off` in a file that means its braces.",
        )


def _destructive(migration: Migration) -> Iterator[Finding]:
    """Statements that drop data, in the up part; a down part is there to drop."""
    rebuilt = _rebuilt_tables(migration)
    for step in migration.up.steps:
        kind = classify(step.sql, migration.dialect)
        if kind.destructive and kind.target.lower() not in rebuilt:
            yield _at(
                step,
                "destructive",
                "warning",
                f"{label(kind)} loses data",
                'Take a backup (backup = "auto" does for this migration), and check that nothing reads it.',
            )


def rebuild_with_foreign_keys(migration: Migration) -> Iterator[Finding]:
    """SQLite: dropping a table with foreign keys on deletes every row that refers to it by CASCADE."""
    if migration.dialect != "sqlite":
        return
    rebuilt = _rebuilt_tables(migration)
    enforced: bool | None = migration.up.foreign_keys
    begun = False
    for step in migration.up.steps:
        kind = classify(step.sql, "sqlite")
        if kind.transaction in ("begin", "commit", "rollback"):
            begun = kind.transaction == "begin"
        switched = switches_foreign_keys(step.sql)  # Left among the steps by transaction:false.
        enforced = enforced if begun or switched is None else switched
        if enforced is False:
            continue
        certain = enforced is True
        if _drops_table(kind) and kind.target.lower() in rebuilt:
            yield _at(
                step,
                "rebuild-foreign-keys",
                "error" if certain else "warning",
                f"table {kind.target} is rebuilt with foreign keys "
                + ("on" if certain else "on, where `session` turns them on")
                + ": the DROP deletes the rows that refer to it",
                "Write `PRAGMA foreign_keys = OFF;` as the first statement of the file.",
            )


def _rebuilt_tables(migration: Migration) -> frozenset[str]:
    """Tables that are dropped and come back by a rename in the same migration, in lower case."""
    if migration.dialect != "sqlite":
        return frozenset()
    dropped: set[str] = set()
    back: set[str] = set()
    for step in migration.up.steps:
        kind = classify(step.sql, "sqlite")
        if _drops_table(kind):
            dropped.add(kind.target.lower())
        elif kind.verb == "ALTER" and kind.object == "table":
            back |= {name.lower() for name in kind.touched if name.lower() in dropped}
    return frozenset(back)


def _drops_table(kind: StatementKind) -> bool:
    return kind.verb == "DROP" and kind.object == "table"


def _not_atomic(migration: Migration) -> Iterator[Finding]:
    """MySQL and MariaDB: a crash inside cannot be settled by looking."""
    if migration.dialect != "mysql":
        return
    for section in (migration.up, migration.down):
        for step in section.steps if section else ():
            kind = classify(step.sql, "mysql")
            if not (kind.settleable or kind.redo_safe or step.redo_safe or step.verify_step):
                yield _at(
                    step,
                    "not-atomic",
                    "warning",
                    f"{label(kind)}: a crash here could not be settled ({reason(kind)})",
                    "Add `-- verify-step: SELECT …`, or `-- redo-safe` if running it twice does no harm.",
                )
        for step, what in breakable(section.steps if section else ()):
            yield _at(
                step,
                "connection",
                "warning",
                f"{step.name}: a crash just before it could not be gone on from ({lost(what)})",
                "Ask the tables instead of the connection, where that is possible.",
            )


def _needs_scratch(migration: Migration) -> Iterator[Finding]:
    """MySQL and MariaDB: tables that are there already are compared in a database beside the tenant's."""
    if migration.dialect == "mysql" and migration.sync:
        yield _at(
            migration.sync[0],
            "scratch-database",
            "warning",
            "migrate:sync compares tables that a tenant already has in a database ledger_scratch_… beside"
            " it, which the account has to be allowed to make",
            "`ledger doctor` says whether it is. Without that right, write ALTER TABLE into -- migrate:up.",
        )


def _missing_down(migration: Migration) -> Iterator[Finding]:
    if not migration.undoes:
        yield Finding(
            rule="missing-down",
            severity="warning",
            file=migration.path,
            line=1,
            message="it has no down part: it can be undone from a backup only",
            hint="Add a `-- migrate:down` section.",
        )


def _empty(migration: Migration) -> Iterator[Finding]:
    """What a run refuses: nobody can tell it from a file that was never written to its end."""
    if not migration.has_steps and not migration.no_steps:
        yield Finding(
            rule="empty",
            severity="error",
            file=migration.path,
            line=1,
            message="it has no step",
            hint="Write its statements, or, if it is meant to have none, -- no-steps: WHY.",
        )


def _impossible_wish(migration: Migration, equip: Equip | None) -> Iterator[Finding]:
    """SQLite: a section sync is made in an empty database, here as in a run."""
    if migration.dialect != "sqlite":
        return
    with closing(sqlite3.connect(":memory:")) as database:
        if equip is not None and migration.sync:
            equip(database)
        for step in migration.sync:
            try:
                database.execute(step.sql)
            except sqlite3.Error as error:
                if not _sqlite_refusal(step.sql):
                    yield _at(
                        step,
                        "sync",
                        "error",
                        f"it cannot be made in an empty database: {error}",
                        "A section sync is a whole wish: what it refers to must be in it, and once.",
                    )


RULES: Final[tuple[Rule, ...]] = (
    _destructive,
    rebuild_with_foreign_keys,
    _not_atomic,
    _needs_scratch,
    _missing_down,
    _empty,
)


def _refused_by_parser(migration: Migration) -> Iterator[Finding]:
    if migration.dialect != "sqlite":
        return
    for step in (*_all_steps(migration.up), *migration.sync, *_all_steps(migration.down)):
        if said := _sqlite_refusal(step.sql):
            yield _at(step, "syntax", "error", f"SQLite's parser refuses it: {said}", "")


def _all_steps(section: Section | None) -> tuple[Step, ...]:
    return section.steps if section is not None else ()


_SQLITE_SYNTAX: Final = re.compile(
    r"near \".*\": syntax error|incomplete input|unrecognized token: \".*\"", re.DOTALL
)
"""All that its parser itself can say; SQLite has one code for these and for a missing table."""


def _sqlite_refusal(sql: str) -> str:
    """What SQLite's own parser says; missing tables and the like are not its matter."""
    with closing(sqlite3.connect(":memory:")) as database:
        try:
            database.execute(f"EXPLAIN {sql}")
        except sqlite3.Error as error:
            said = str(error)
            return said if _SQLITE_SYNTAX.fullmatch(said) else ""
    return ""


def _at(step: Step, rule: str, severity: Severity, message: str, hint: str) -> Finding:
    return Finding(
        rule=rule, severity=severity, file=step.file, line=step.line, message=message, hint=hint
    )
