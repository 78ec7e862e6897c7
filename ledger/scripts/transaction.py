"""A SQLite section as one transaction: what a file says about transactions itself, settled.

Invariant: all steps of a transactional section commit together with the marker,
so the file's own BEGIN and COMMIT are left out, PRAGMA foreign_keys is set
outside, and what cannot work inside a transaction is refused.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from ledger.errors import ScriptError
from ledger.scripts.model import Section, Step
from ledger.scripts.tokens import Cursor

# Seen on SQLite 3.40: an error inside a transaction …
_REFUSED_PRAGMAS: Final = frozenset({"journal_mode", "synchronous", "wal_checkpoint"})
# … and silently without effect there.
_IDLE_PRAGMAS: Final = frozenset({"page_size", "auto_vacuum", "encoding"})
_REFUSED: Final = frozenset({"VACUUM", "ATTACH", "DETACH"})
_OFF: Final = frozenset({"off", "0", "no", "false"})
_LEADING: Final = re.compile(r"[A-Za-z]+")
_HINT: Final = (
    "Write -- migrate:up transaction:false at the top: its statements then run one by one."
)


class Settled(NamedTuple):
    """A section, and warnings about it."""

    section: Section
    warnings: tuple[str, ...]


def settle_sqlite_section(steps: list[Step]) -> Settled:
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
        if word == "PRAGMA":
            name, value = _pragma(step)
            if name == "foreign_keys" and value is not None:
                switches.append((len(kept), value not in _OFF))
                continue
            if name in _REFUSED_PRAGMAS and (value is not None or name == "wal_checkpoint"):
                raise _refused(step, f"PRAGMA {name}")
            if name in _IDLE_PRAGMAS and value is not None:
                warnings.append(
                    f"{step.file}:{step.line}: PRAGMA {name} has no effect inside a transaction"
                )
        kept.append(step)
    before = [on for position, on in switches if position < len(kept)]
    numbered = (
        step if step.number == number else msgspec.structs.replace(step, number=number)
        for number, step in enumerate(kept, 1)
    )
    section = Section(steps=tuple(numbered), foreign_keys=None if not before else all(before))
    return Settled(section, tuple(warnings))


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
    cursor = Cursor(step.sql, "sqlite")
    cursor.next()
    cursor.take("TRANSACTION")
    return cursor.take("TO")


def _pragma(step: Step) -> tuple[str, str | None]:
    """A pragma's name and the value it sets, both in lower case; None where it only asks."""
    cursor = Cursor(step.sql, "sqlite")
    cursor.next()
    name = cursor.name().lower().rpartition(".")[2]
    if cursor.take_other("=") or cursor.take_other("("):
        return name, cursor.next().text.lower().strip("'")
    return name, None
