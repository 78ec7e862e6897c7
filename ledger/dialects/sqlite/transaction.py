"""A SQLite section as one transaction: what a file says about transactions itself, settled.

Invariant: all steps of a transactional section commit together with the marker,
so the file's own BEGIN and COMMIT are left out, PRAGMA foreign_keys is set
outside, and what cannot work inside a transaction is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from ledger.dialects.base import Settled
from ledger.dialects.sqlite.pragmas import read_pragma, switches_foreign_keys
from ledger.dialects.sqlite.syntax import SYNTAX
from ledger.dialects.steps import Section, Step
from ledger.errors import ScriptError

# Seen on SQLite 3.40: an error inside a transaction.
_REFUSED_PRAGMAS: Final = frozenset({"journal_mode", "synchronous", "wal_checkpoint"})
# Taken by an empty database, and ignored by any other: see ledger.engines.sqlite.apply.settings.
_OF_NEW_FILE: Final = frozenset({"page_size", "auto_vacuum", "encoding"})
_REFUSED: Final = frozenset({"VACUUM", "ATTACH", "DETACH"})
_LEADING: Final = re.compile(r"[A-Za-z]+")
_HINT: Final = (
    "Write -- migrate:up transaction:false at the top: its statements then run one by one."
)


def settle_section(steps: Sequence[Step]) -> Settled:
    """Leave out the file's own transaction and PRAGMA foreign_keys; number the rest anew.

    `foreign_keys` is False if an OFF stands before any step that is left, else
    True if an ON does. Raises ScriptError for what cannot run in a transaction.
    """
    kept: list[Step] = []
    warnings: list[str] = []
    switches: list[tuple[int, bool]] = []
    for step in steps:
        found = _LEADING.match(step.sql)
        word = found[0].upper() if found else ""
        if word in ("BEGIN", "COMMIT", "END"):
            continue
        if word in _REFUSED or (word == "ROLLBACK" and not _to_savepoint(step)):
            raise _refused(step, word)
        if (on := switches_foreign_keys(step.sql)) is not None:
            switches.append((len(kept), on))
            continue
        if pragma := read_pragma(step.sql):
            if pragma.name in _REFUSED_PRAGMAS and (pragma.sets or pragma.name == "wal_checkpoint"):
                raise _refused(step, f"PRAGMA {pragma.name}")
            if pragma.name in _OF_NEW_FILE and pragma.sets:
                warnings.append(
                    f"{step.file}:{step.line}: PRAGMA {pragma.name} is for new databases: a tenant that has"
                    " been written to, and has another, is refused"
                )
        kept.append(step)
    before = [on for position, on in switches if position < len(kept)]
    numbered = (
        step if step.number == number else msgspec.structs.replace(step, number=number)
        for number, step in enumerate(kept, 1)
    )
    section = Section(steps=tuple(numbered), foreign_keys=None if not before else all(before))
    return Settled(section, tuple(warnings))


def settle_bound(section: Section, unbound: Section) -> Section:
    """A settled section once its placeholders are replaced: a PRAGMA that had one is read now.

    Raises ScriptError.
    """
    if not section.transaction or not any(
        "{" in step.sql and _is_pragma(step) for step in unbound.steps
    ):
        return section
    settled = settle_section(section.steps).section
    said = [each.foreign_keys for each in (section, settled) if each.foreign_keys is not None]
    return msgspec.structs.replace(
        section, steps=settled.steps, foreign_keys=all(said) if said else None
    )


def _is_pragma(step: Step) -> bool:
    return SYNTAX.cursor(step.sql).peek().upper == "PRAGMA"


def _refused(step: Step, what: str) -> ScriptError:
    if what == "ROLLBACK":
        return ScriptError(
            "ROLLBACK would undo the whole migration",
            file=step.file,
            line=step.line,
            hint="Remove it; a migration that fails is rolled back by itself.",
        )
    return ScriptError(
        f"{what} cannot run inside a transaction", file=step.file, line=step.line, hint=_HINT
    )


def _to_savepoint(step: Step) -> bool:
    cursor = SYNTAX.cursor(step.sql)
    cursor.next()
    cursor.take("TRANSACTION")
    return cursor.take("TO")
