"""What an account may do to a database, read from SHOW GRANTS. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.dialect import MYSQL
from ledger.dialects.mysql.syntax import SYNTAX

FOR_THE_MARKER: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE")
"""What every run needs, whatever its migrations do."""

TO_MIGRATE: Final = (
    *FOR_THE_MARKER, "DROP", "ALTER", "INDEX", "REFERENCES", "CREATE VIEW", "SHOW VIEW", "TRIGGER", "CREATE ROUTINE",
    "ALTER ROUTINE", "EVENT", "CREATE TEMPORARY TABLES",
)  # fmt: skip
OFTEN: Final = (*FOR_THE_MARKER, "DROP", "ALTER", "INDEX", "REFERENCES")
"""What `doctor` expects of an account without knowing what it will run."""

SCRATCH_DATABASES: Final = "`ledger\\_scratch\\_%`.*"
SCRATCH: Final = "ledger_scratch_0"
"""Stands for the scratch databases, whose names all begin so."""

TO_BACK_UP: Final = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")

_GRANT: Final = re.compile(
    r"GRANT (?P<what>.+?) ON (?:TABLE )?(?P<where>\*\.\*|(?:`(?:[^`]|``)+`|\S+?)\.\*) TO ",
    re.IGNORECASE,
)
_ROLE: Final = re.compile(r"GRANT (?:`|')?[^ ]+ TO ", re.IGNORECASE)
_ALL: Final = frozenset({"ALL PRIVILEGES", "ALL"})
_COLUMNS: Final = re.compile(r"\([^)]*\)")


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What an account may do to one database, and on the whole server; `by_role`: roles may bring more."""

    here: frozenset[str]
    everywhere: frozenset[str]
    by_role: bool = False

    def may(self, word: str) -> bool:
        """Whether the privilege is granted on the database."""
        return bool(self.here & {word, *_ALL})

    def may_everywhere(self, *words: str) -> bool:
        """Whether one of the privileges is granted on the server."""
        return bool(self.everywhere & {*words, *_ALL})


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """Privileges that are not granted; `by_role` says that roles may still bring them.

    Without `always` no run can work; `to_migrate` holds these too.
    """

    always: tuple[str, ...] = ()
    to_migrate: tuple[str, ...] = ()
    to_back_up: tuple[str, ...] = ()
    by_role: bool = False


def granted(grants: Iterable[str], database: str) -> Granted:
    """What SHOW GRANTS' lines say about all tables of `database`. A database's name may be a LIKE pattern."""
    here: set[str] = set()
    everywhere: set[str] = set()
    by_role = False
    for line in grants:
        found = _GRANT.match(line)
        if found is None:
            by_role = by_role or bool(_ROLE.match(line))
            continue
        words = {word.strip().upper() for word in _COLUMNS.sub("", found["what"]).split(",")}
        if found["where"] == "*.*":
            everywhere |= words
        elif _covers(found["where"].removesuffix(".*"), database):
            here |= words
    return Granted(
        here=frozenset(here | everywhere), everywhere=frozenset(everywhere), by_role=by_role
    )


def missing(
    grants: Iterable[str], database: str, *, statements: Iterable[str] | None = None
) -> Lacking:
    """What the account lacks of what migrations and backups of `database` need.

    With `statements` these alone count; without, what migrations need in general.
    """
    have = granted(grants, database)
    if have.here & _ALL:
        return Lacking()
    wanted = OFTEN if statements is None else needed(statements)
    return Lacking(
        always=tuple(word for word in FOR_THE_MARKER if not have.may(word)),
        to_migrate=tuple(word for word in wanted if not have.may(word)),
        to_back_up=tuple(word for word in TO_BACK_UP if not have.may(word) and word not in OFTEN),
        by_role=have.by_role,
    )


def may_make_scratch(grants: Iterable[str]) -> bool | None:
    """Whether the account may make and fill a scratch database; None where a role may bring it."""
    have = granted(grants, SCRATCH)
    may = all(have.may(word) for word in ("CREATE", "DROP", "SELECT", "ALTER", "INDEX"))
    return True if may else None if have.by_role else False


def needed(statements: Iterable[str]) -> tuple[str, ...]:
    """The privileges that these statements need for certain, and the marker; in a fixed order."""
    words = set(FOR_THE_MARKER)
    for sql in statements:
        words |= _needed(MYSQL.classify(sql), sql)
    return tuple(word for word in TO_MIGRATE if word in words)


_BY_OBJECT: Final[Mapping[str, Mapping[str, str]]] = {
    "CREATE": {"view": "CREATE VIEW", "trigger": "TRIGGER", "procedure": "CREATE ROUTINE",
               "function": "CREATE ROUTINE", "event": "EVENT", "index": "INDEX", "table": "CREATE",
               "sequence": "CREATE"},
    "DROP": {"view": "DROP", "trigger": "TRIGGER", "procedure": "ALTER ROUTINE",
             "function": "ALTER ROUTINE", "event": "EVENT", "index": "INDEX", "table": "DROP",
             "sequence": "DROP"},
    "ALTER": {"view": "CREATE VIEW", "procedure": "ALTER ROUTINE", "function": "ALTER ROUTINE",
              "event": "EVENT", "table": "ALTER", "sequence": "ALTER"},
}  # fmt: skip


def _needed(kind: StatementKind, sql: str) -> set[str]:
    """Nothing for what is not this database's, or not known: the server says so itself."""
    if kind.kind not in ("ddl", "session") or any("." in name for name in kind.names):
        return set()
    if kind.temporary:
        return {"CREATE TEMPORARY TABLES"} if kind.verb == "CREATE" else set()
    if kind.verb == "TRUNCATE":
        return {"DROP"}
    if kind.verb == "RENAME":
        return {"ALTER", "DROP", "CREATE", "INSERT"}
    word = _BY_OBJECT.get(kind.verb, {}).get(kind.object)
    if word is None:
        return set()
    words = {word} | ({"DROP"} if kind.replaces and kind.object in ("table", "view") else set())
    if word == "CREATE VIEW":
        # Its text is read before and after, so that a crash can be settled.
        words.add("SHOW VIEW")
    if kind.object == "table" and kind.verb != "DROP" and _refers(sql):
        words.add("REFERENCES")
    return words


def _refers(sql: str) -> bool:
    return any(token.upper == "REFERENCES" for token in SYNTAX.tokens(sql))


def _covers(quoted: str, database: str) -> bool:
    pattern = quoted[1:-1].replace("``", "`") if quoted.startswith("`") else quoted
    out, index = "", 0
    while index < len(pattern):
        char = pattern[index]
        if char == "\\" and index + 1 < len(pattern):
            index += 1
            out += re.escape(pattern[index])
        else:
            out += {"%": ".*", "_": "."}.get(char, re.escape(char))
        index += 1
    return re.fullmatch(out, database, re.DOTALL) is not None
