"""What a statement is, in words for people: names of steps and parts of messages.

Invariant: nothing that is made here is read by code again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.dialects.kinds import Lost, StatementKind, Unsettled

_VERBS: Final = {
    "INSERT": "INSERT INTO",
    "REPLACE": "REPLACE INTO",
    "DELETE": "DELETE FROM",
    "LOAD": "LOAD DATA INTO",
}
_REASONS: Final[Mapping[Unsettled | Lost, str]] = {
    "": "",
    "unknown": "its effect is not known",
    "compound": "a compound statement may do anything",
    "untraced": "nothing in the tenant shows whether it ran",
    "prepared": "what a prepared statement does is not known before it runs",
    "call": "a called procedure may do anything",
    "temporary": "a temporary table ends with its session",
    "not_atomic": "CREATE OR REPLACE TABLE is not atomic: a crash can leave neither table",
    "several_dropped": "a crash can leave some of these dropped; drop them one by one, or with IF EXISTS",
    "several_renamed": "a crash can leave some of these renamed; rename one by one",
    "emptied": "nothing in the schema shows whether it ran; -- redo-safe says that it may run twice",
    "partition_emptied": "nothing in the schema shows whether the partition was emptied",
    "partition_exchanged": "exchanging a partition twice undoes it",
    "tablespace": "nothing in the schema shows whether it ran",
    "file_written": "it writes a file on the server, which is there or not, whole or not, after a crash",
    "sequence": "a value that was drawn from a sequence is not given back",
    "one_time_event": "an event that runs once drops itself, and would run again",
    "file_read": "it depends on a file beside the migration",
    "count": "it reads what the statement before it leaves, which a crash between them loses",
    "random": "on MySQL, a new connection cannot go on with the random numbers of another",
}


def label(kind: StatementKind) -> str:
    """The statement's name without its literals: `ALTER TABLE t ADD COLUMN c`."""
    verb = _VERBS.get(kind.verb, kind.verb)
    if kind.verb == "BEGIN" and kind.kind == "call":
        return "BEGIN NOT ATOMIC"
    words = [
        verb,
        "OR REPLACE" if kind.replaces else "",
        "TEMPORARY" if kind.temporary and kind.verb == "CREATE" else "",
        "UNIQUE" if kind.unique else "",
        kind.object.upper(),
        ", ".join(kind.names),
    ]
    if kind.owner:
        words += ["ON", kind.owner]
    if kind.verb == "RENAME" and kind.renames:
        words += ["TO", kind.renames[0][1]]
    words += _clause(kind)
    if len(kind.clauses) > 1 or (kind.verb == "RENAME" and len(kind.renames) > 1):
        words.append("…")
    return " ".join(word for word in words if word) or "statement"


def _clause(kind: StatementKind) -> list[str]:
    return [*kind.clauses[0].words, kind.clauses[0].name] if kind.clauses else []


def reason(kind: StatementKind) -> str:
    """Why a crash in it cannot be settled; empty where it can."""
    return because(kind.unsettled)


def because(why: Unsettled | Lost) -> str:
    """The reason in words; empty for none."""
    return _REASONS[why]
