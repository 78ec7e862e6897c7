"""What a backup needs of the server and the account that restore it.

Invariant: this only reads; what it refuses would have failed in the middle of the
restore, with the tenant's own tables dropped already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from ledger.engines.checks import shortened
from ledger.engines.mysql.backup.container import Contents
from ledger.engines.mysql.doctor.grants import Granted, granted
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema.claims import declaration
from ledger.engines.mysql.schema.model import Claimed
from ledger.errors import RestoreError

HEAD_BYTES: Final = 1000
PACKET_SPARE: Final = 1024
LIMITS: Final = """
SHOW VARIABLES WHERE Variable_name IN (
    'max_allowed_packet', 'log_bin', 'log_bin_trust_function_creators'
)
"""
ACCOUNT: Final = "SELECT CURRENT_USER()"
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "TABLE": ("CREATE", "DROP", "INSERT"),
    "SEQUENCE": ("CREATE", "DROP", "INSERT"),
    "VIEW": ("CREATE VIEW", "DROP"),
    "TRIGGER": ("TRIGGER",),
    "PROCEDURE": ("CREATE ROUTINE", "ALTER ROUTINE"),
    "FUNCTION": ("CREATE ROUTINE", "ALTER ROUTINE"),
    "PACKAGE": ("CREATE ROUTINE", "ALTER ROUTINE"),
    "LIBRARY": ("CREATE ROUTINE", "ALTER ROUTINE"),
    "EVENT": ("EVENT",),
}
ANY_DEFINER: Final = ("SET USER", "SET_USER_ID", "SET_ANY_DEFINER")
SUPER_IS_ALL_BEFORE: Final = (11, 0)
"""From this MariaDB on SUPER does not let an account name another definer."""

_NAME: Final = r"(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|[^\s`\"@(]+)"
_MARKS: Final = re.compile(r"/\*M?!\d*|\*/")
_CREATE: Final = re.compile(
    rf"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:ALGORITHM\s*=\s*\w+\s+)?(?:MATERIALIZED\s+)?"
    rf"(?:DEFINER\s*=\s*(?P<user>{_NAME})(?:@(?P<host>{_NAME}))?\s+)?"
    rf"(?:SQL\s+SECURITY\s+\w+\s+)?(?:AGGREGATE\s+)?(?:JSON\s+(?:RELATIONAL\s+)?DUALITY\s+)?"
    rf"(?P<kind>TABLE|SEQUENCE|VIEW|TRIGGER|PROCEDURE|FUNCTION|PACKAGE|EVENT|LIBRARY)\s+"
    rf"(?:BODY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{_NAME})",
    re.IGNORECASE,
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a dump: its longest statement, what it creates, and accounts that it names."""

    longest_bytes: int
    kinds: frozenset[str]
    definers: tuple[str, ...]
    names: tuple[str, ...]
    """Of all but triggers, whose names need not begin like their tables'."""


def asked(statements: Iterable[bytes]) -> Asked:
    """Reads all of them. Raises what the iterator raises."""
    longest = 0
    kinds: set[str] = set()
    definers: dict[str, None] = {}
    names: dict[str, None] = {}
    for text in statements:
        longest = max(longest, len(text))
        found = _CREATE.match(_MARKS.sub("", text[:HEAD_BYTES].decode("utf-8", "surrogateescape")))
        if found is None:
            continue
        kind = found["kind"].upper()
        kinds.add(kind)
        if kind != "TRIGGER":
            names.setdefault(_bare(found["name"]))
        if found["user"]:
            definers.setdefault(f"{_bare(found['user'])}@{_bare(found['host'] or '')}")
    return Asked(
        longest_bytes=longest,
        kinds=frozenset(kinds),
        definers=tuple(definers),
        names=tuple(names),
    )


def _bare(name: str) -> str:
    if name[:1] in ("`", '"'):
        return name[1:-1].replace(name[0] * 2, name[0])
    return name


def known_of(contents: Contents) -> Claimed:
    """What the backup says of the tenant: what it holds, and which migrations were applied."""
    return Claimed(
        names=frozenset(contents.names),
        ids=frozenset(entry.ref.id for entry in contents.entries),
    )


async def require_taken(opened: Opened, wanted: Asked, contents: Contents) -> None:
    """Raises RestoreError for what this server or account would refuse, what is another tenant's by
    now, and what may be."""
    connection = opened.connection
    rows = await connection.fetch(LIMITS)
    values = {str(name).lower(): str(value).upper() for name, value in rows}
    grants = [str(row[0]) for row in await connection.fetch("SHOW GRANTS")]
    have = granted(grants, opened.names.database)
    for message, hint in (
        *_too_long(values, wanted),
        *([] if have.by_role else _not_granted(opened, have, wanted)),
        *await _of_other_accounts(opened, have, wanted),
        *([] if have.by_role else _logged(have, values, wanted)),
        *await _of_others(opened, wanted, contents),
    ):
        raise RestoreError(f"{message}; nothing was changed", hint=hint, tenant=opened.tenant)


Refusals = Iterator[tuple[str, str]]


def _too_long(values: Mapping[str, str], wanted: Asked) -> Refusals:
    limit = int(values.get("max_allowed_packet", "0") or 0)
    if limit and wanted.longest_bytes + PACKET_SPARE > limit:
        yield (
            f"the backup holds a statement of {wanted.longest_bytes} bytes, and the server takes {limit}",
            f"SET GLOBAL max_allowed_packet = {2 * wanted.longest_bytes}, or more, as an account that"
            " may, and run the restore again.",
        )


def _not_granted(opened: Opened, have: Granted, wanted: Asked) -> Refusals:
    needed = dict.fromkeys(word for kind in sorted(wanted.kinds) for word in NEEDED[kind])
    if lacking := [word for word in needed if not have.may(word)]:
        words = ", ".join(lacking)
        yield (
            f"the account lacks {words} on {opened.names.database}, which this backup needs",
            f"GRANT {words} ON `{opened.names.database}`.* to the account.",
        )


def _logged(have: Granted, values: Mapping[str, str], wanted: Asked) -> Refusals:
    logged = values.get("log_bin", "OFF") in ("ON", "1")
    trusted = values.get("log_bin_trust_function_creators", "OFF") in ("ON", "1")
    theirs = wanted.kinds & {"TRIGGER", "FUNCTION", "PACKAGE"}
    if logged and not trusted and theirs and not have.may_everywhere("SUPER"):
        yield (
            "the server writes a binary log, and lets nobody but SUPER create the backup's"
            " triggers and functions",
            "SET GLOBAL log_bin_trust_function_creators = 1, or restore with an account that has SUPER.",
        )


async def _of_other_accounts(opened: Opened, have: Granted, wanted: Asked) -> list[tuple[str, str]]:
    """An account that may not name another definer cannot restore what another account has defined."""
    server = opened.connection.server
    words: tuple[str, ...] = ANY_DEFINER
    if server.flavor == "mysql" or server.version[:2] < SUPER_IS_ALL_BEFORE:
        words = (*words, "SUPER")
    if have.by_role or have.may_everywhere(*words):
        return []
    account = str((await opened.connection.fetch(ACCOUNT))[0][0])
    others = [definer for definer in wanted.definers if definer != account]
    if not others:
        return []
    word = "SET USER" if server.flavor == "mariadb" else "SET_USER_ID or SET_ANY_DEFINER"
    return [
        (
            f"the backup holds what {others[0]} has defined, and {account} may not define for others",
            f"GRANT {word} ON *.* to the account, or restore with one that has it.",
        )
    ]


async def _of_others(opened: Opened, wanted: Asked, contents: Contents) -> list[tuple[str, str]]:
    """Other tenants' objects in the backup, and objects here whose owner nothing settles.

    A backup from before a longer prefix was a tenant of its own holds that one's tables too.
    """
    known = known_of(contents)
    reader, connection = opened.reader, opened.connection
    strangers = await reader.strangers(connection, wanted.names, known)
    if strangers.others:
        return [
            (
                f"the backup holds {strangers.others[0]}, which is another tenant's by now",
                "Restore one that was taken since then; or take this tenant's own objects out of the"
                " file by hand (`zstd -dc FILE`).",
            )
        ]
    here = (await reader.listing(connection, also=known)).unclear
    unclear = dict.fromkeys((*(name for _, name in here), *strangers.unclear))
    if not unclear:
        return []
    return [
        (
            f"it is not known whether {shortened(tuple(unclear))} {'is' if len(unclear) == 1 else 'are'}"
            f" this tenant's, of prefix {opened.names.prefix}: no migration and no configuration says so",
            declaration(opened.target, next(iter(unclear))),
        )
    ]
