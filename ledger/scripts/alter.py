"""ALTER TABLE, clause by clause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.scripts.kinds import Clause, StatementKind, Unsettled
from ledger.scripts.model import Dialect
from ledger.scripts.tokens import Cursor, Token

_VERBS: Final = frozenset(
    {
        "ADD", "DROP", "MODIFY", "CHANGE", "RENAME", "ALTER", "COLUMN", "INDEX", "KEY", "UNIQUE",
        "FULLTEXT", "SPATIAL", "PRIMARY", "FOREIGN", "CONSTRAINT", "CHECK", "PARTITION", "TO", "AS",
    }
)  # fmt: skip
_GUARD: Final = frozenset({"IF", "NOT", "EXISTS"})
# What ALTER TABLE … DROP takes away without taking data.
_NO_DATA: Final = frozenset(
    {"INDEX", "KEY", "PRIMARY", "FOREIGN", "CONSTRAINT", "CHECK", "DEFAULT"}
)
_UNSETTLED: Final[Mapping[tuple[str, str], Unsettled]] = {
    ("TRUNCATE", "PARTITION"): "partition_emptied",
    ("EXCHANGE", "PARTITION"): "partition_exchanged",
    ("DISCARD", "TABLESPACE"): "tablespace",
    ("IMPORT", "TABLESPACE"): "tablespace",
}


def alter_table(cursor: Cursor, dialect: Dialect) -> StatementKind:
    """The kind of an ALTER TABLE; the cursor stands after these two words."""
    guarded = cursor.guard()
    name = cursor.name()
    if cursor.take("WAIT"):
        cursor.next()
    cursor.take("NOWAIT")
    clauses = cursor.clauses()
    new_names = [new for clause in clauses if (new := _new_name(clause, dialect))]
    reasons = [reason for clause in clauses if (reason := _UNSETTLED.get(_first_two(clause)))]
    return StatementKind(
        kind="ddl",
        verb="ALTER",
        object="table",
        names=(name,),
        renames=tuple((name, new) for new in new_names),
        clauses=tuple(map(_clause, clauses)),
        touched=(name, *new_names),
        guarded=guarded,
        redo_safe=dialect == "mysql" and all(map(_is_guarded, clauses)),
        unsettled=reasons[0] if reasons else "",
        destructive=any(map(_drops_data, clauses)),
    )


def _first_two(clause: list[Token]) -> tuple[str, str]:
    words = [token.upper for token in clause[:2]] + ["", ""]
    return words[0], words[1]


def _clause(clause: list[Token]) -> Clause:
    """The clause's verbs and the name they act on; never a literal."""
    words: list[str] = []
    name = ""
    for token in clause:
        if token.upper in _GUARD:
            continue
        if token.kind not in ("word", "quoted"):
            break
        if token.upper not in _VERBS:
            name = token.text
            break
        words.append(token.upper)
    return Clause(words=tuple(words), name=name, guarded=_is_guarded(clause))


def _new_name(clause: list[Token], dialect: Dialect) -> str:
    """The table's new name, where the clause renames the table itself."""
    if not clause or clause[0].upper != "RENAME":
        return ""
    rest = clause[1:]
    if rest and (rest[0].upper in ("TO", "AS") or rest[0].text == "="):
        rest = rest[1:]
    elif dialect == "sqlite" or (rest and rest[0].upper in ("COLUMN", "INDEX", "KEY")):
        return ""
    return "".join(t.text for t in rest[:3] if t.kind in ("word", "quoted") or t.text == ".")


def _is_guarded(clause: list[Token]) -> bool:
    """Whether the clause has its own IF [NOT] EXISTS near its start (MariaDB)."""
    words = [token.upper for token in clause[:6]]
    return "EXISTS" in words and "IF" in words


def _drops_data(clause: list[Token]) -> bool:
    first, second = _first_two(clause)
    if (first, second) in (("TRUNCATE", "PARTITION"), ("DISCARD", "TABLESPACE")):
        return True
    return first == "DROP" and len(clause) > 1 and second not in _NO_DATA
