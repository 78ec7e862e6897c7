"""What an account may do to a database, read from SHOW GRANTS. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

TO_MIGRATE: Final = (
    "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES",
)  # fmt: skip
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
    """Privileges that are not granted; `by_role` says that roles may still bring them."""

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
        words = {one.strip().upper() for one in _COLUMNS.sub("", found["what"]).split(",")}
        if found["where"] == "*.*":
            everywhere |= words
        elif _covers(found["where"].removesuffix(".*"), database):
            here |= words
    return Granted(
        here=frozenset(here | everywhere), everywhere=frozenset(everywhere), by_role=by_role
    )


def missing(grants: Iterable[str], database: str) -> Lacking:
    """What the account lacks of what migrations and backups of `database` need."""
    have = granted(grants, database)
    if have.here & _ALL:
        return Lacking()
    return Lacking(
        to_migrate=tuple(one for one in TO_MIGRATE if not have.may(one)),
        to_back_up=tuple(one for one in TO_BACK_UP if not have.may(one) and one not in TO_MIGRATE),
        by_role=have.by_role,
    )


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
