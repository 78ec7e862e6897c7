"""ALTER TABLE, clause by clause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.dialects.kinds import Clause, StatementKind, Unsettled
from ledger.dialects.tokens import Cursor, Token

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
    ("DISCARD", "PARTITION"): "tablespace",
    ("IMPORT", "PARTITION"): "tablespace",
}


def alter_table(cursor: Cursor) -> StatementKind:
    """The kind of an ALTER TABLE; the cursor stands after these two words."""
    guarded = cursor.guard()
    name = cursor.name()
    if cursor.take("WAIT"):
        cursor.next()
    cursor.take("NOWAIT")
    clauses = cursor.clauses()
    new_names = [new for clause in clauses if (new := _new_name(clause))]
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
        redo_safe=_may_be_repeated(clauses),
        unsettled=reasons[0] if reasons else "",
        destructive=any(map(_drops_data, clauses)),
    )


def _first_two(clause: list[Token]) -> tuple[str, str]:
    words = [token.upper for token in clause[:2]] + ["", ""]
    return words[0], words[1]


def _clause(clause: list[Token]) -> Clause:
    """The clause's verbs and the name they act on; never a literal."""
    words: list[str] = []
    name = new = sort = ""
    for at, token in enumerate(clause):
        if token.upper in _GUARD:
            continue
        if token.kind not in ("word", "quoted"):
            break
        if token.upper not in _VERBS:
            name = token.text
            after = [other for other in clause[at + 1 : at + 3] if other.upper not in ("TO", "AS")]
            new = after[0].text if words[:1] in (["CHANGE"], ["RENAME"]) and after else ""
            sort = after[0].upper if "CONSTRAINT" in words and after else ""
            break
        words.append(token.upper)
    return Clause(
        words=tuple(words), name=name, new=new, sort=sort, guarded=_guard(clause) is not None
    )


def _new_name(clause: list[Token]) -> str:
    """The table's new name, where the clause renames the table itself."""
    if not clause or clause[0].upper != "RENAME":
        return ""
    rest = clause[1:]
    if rest and (rest[0].upper in ("TO", "AS") or rest[0].text == "="):
        rest = rest[1:]
    elif any(token.upper in ("COLUMN", "INDEX", "KEY", "TO") for token in rest[:2]):
        return ""  # RENAME a TO b, as SQLite has it, is about a column.
    return "".join(t.text for t in rest[:3] if t.kind in ("word", "quoted") or t.text == ".")


def _may_be_repeated(clauses: list[list[Token]]) -> bool:
    """Whether each clause has its own guard (MariaDB) and none changes what another one looks at.

    All guards are answered by the table as it was: DROP COLUMN IF EXISTS a, ADD COLUMN IF NOT
    EXISTS a drops it the first time and adds it the second.
    """
    seen: set[str] = set()
    for clause in clauses:
        names = _guarded_names(clause)
        if names is None or seen & names or (len(clauses) > 1 and not names):
            return False
        seen |= names
    return True


def _guarded_names(clause: list[Token]) -> set[str] | None:
    """The names that a guarded clause is about, in small letters; none of them if they are in
    parentheses. None if the clause does more the second time.
    """
    found = _guard(clause)
    if found is None:
        return None
    start, end = found
    before = [token.upper for token in clause[:start]]
    rest = clause[end:]
    names = [_name(token) for token in rest[:1]]
    if "FOREIGN" in before:
        # Without a name it is added each time; with two, the guard asks for the wrong one.
        named = clause[before.index("FOREIGN") - 1]
        names += [_name(named)] if named.upper not in ("ADD", "CONSTRAINT") else []
        names = [name for name in names if name]
        return set(names) if len(names) == 1 else None
    if before[-1:] == ["CONSTRAINT"] and rest and rest[0].upper in _ANONYMOUS:
        return None
    if before[:1] == ["CHANGE"]:
        names += [_name(token) for token in rest[1:2]]
    elif before[:1] == ["RENAME"]:
        names += [_name(token) for token in rest[2:3]]
    return {name for name in names if name}


_ANONYMOUS: Final = frozenset({"FOREIGN", "CHECK", "UNIQUE", "PRIMARY"})


def _name(token: Token) -> str:
    return token.text.lower() if token.kind in ("word", "quoted") else ""


def _guard(clause: list[Token]) -> tuple[int, int] | None:
    """Where the clause's own IF [NOT] EXISTS begins and ends; it stands before any parenthesis."""
    words = [token.upper for token in clause]
    for start, token in enumerate(clause):
        if token.text == "(" and token.kind == "other":
            break
        for guard in (["IF", "EXISTS"], ["IF", "NOT", "EXISTS"]):
            if words[start : start + len(guard)] == guard:
                return start, start + len(guard)
    return None


def _drops_data(clause: list[Token]) -> bool:
    first, second = _first_two(clause)
    if (first, second) in (
        ("TRUNCATE", "PARTITION"),
        ("DISCARD", "TABLESPACE"),
        ("DISCARD", "PARTITION"),
    ):
        return True
    return first == "DROP" and len(clause) > 1 and second not in _NO_DATA
