"""What SQLite makes of a column's declared type."""

from __future__ import annotations

from ledger.dialects.base import Relation
from ledger.schema import Column


def affinity(declared: str) -> str:
    """By the rules of SQLite's documentation (datatype3, section 3.1)."""
    text = declared.upper()
    for affinity_name, words in (
        ("INTEGER", ("INT",)),
        ("TEXT", ("CHAR", "CLOB", "TEXT")),
        ("BLOB", ("BLOB",)),
        ("REAL", ("REAL", "FLOA", "DOUB")),
    ):
        if any(word in text for word in words):
            return affinity_name
    return "NUMERIC" if text else "BLOB"


def relation(live: Column, desired: Column, *, in_key: bool) -> Relation:
    """SQLite stores alike what has one affinity, whatever length is declared: nothing to widen.

    INTEGER PRIMARY KEY alone is the rowid, and INT PRIMARY KEY is not.
    """
    if in_key and (live.type == "INTEGER") != (desired.type == "INTEGER"):
        return "differs"
    return "same" if affinity(live.type) == affinity(desired.type) else "differs"
