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
_COLUMNS: Final = re.compile(r"\([^)]*\)")


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """Privileges that are not granted; `by_role` says that roles may still bring them."""

    to_migrate: tuple[str, ...] = ()
    to_back_up: tuple[str, ...] = ()
    by_role: bool = False


def missing(grants: Iterable[str], database: str) -> Lacking:
    """What the account lacks on all tables of `database`. A database's name may be a LIKE pattern."""
    have: set[str] = set()
    by_role = False
    for line in grants:
        found = _GRANT.match(line)
        if found is None:
            by_role = by_role or bool(_ROLE.match(line))
            continue
        if found["where"] != "*.*" and not _covers(found["where"].removesuffix(".*"), database):
            continue
        words = (one.strip().upper() for one in _COLUMNS.sub("", found["what"]).split(","))
        have.update(words)
    if have & {"ALL PRIVILEGES", "ALL"}:
        return Lacking()
    return Lacking(
        to_migrate=tuple(one for one in TO_MIGRATE if one not in have),
        to_back_up=tuple(one for one in TO_BACK_UP if one not in have and one not in TO_MIGRATE),
        by_role=by_role,
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
