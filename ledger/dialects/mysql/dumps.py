"""What mysqldump and mariadb-dump write for the client and for the server that takes a dump whole.

Invariant: what is left out changes neither the schema nor a row: lines that only the client
understands, locks, a tenant's marker, and the state of replication; all of it by the form that
the programs write.
"""

from __future__ import annotations

import re
from typing import Final

from ledger.dialects.steps import MARKER_TABLE
from ledger.dialects.tokens import Cursor

CLIENT_LINE: Final = (
    r"/\*M?!999999\\-[^*\n]*+\*/"
    r"|(?:mysqldump|mariadb-dump): [^\n]*+"
    r"|WARNING: option --[\w-]+ is disabled[^\n]*+"
    r"|Warning: A (?:partial dump|dump from a server)[^\n]*+"
    r"|In order to ensure a consistent backup of the database, pass [^\n]*+"
)
"""Where a statement would start: the sandbox mode's command, and what the programs say on stderr."""

_HEAD: Final = re.compile(r"-- (?:MySQL|MariaDB) dump |/\*M?!999999\\-")
HEAD_CHARACTERS: Final = 10_000
_OPENED: Final = re.compile(r"\s*/\*M?!\d*\s*")
_REPLICATION: Final = re.compile(
    r"SET\s+@MYSQLDUMP_TEMP_LOG_BIN\b"
    r"|SET\s+@@SESSION\.SQL_LOG_BIN\s*=\s*(?:0|@MYSQLDUMP_TEMP_LOG_BIN)\s*\Z"
    r"|SET\s+@@GLOBAL\.GTID_PURGED\b|SET\s+GLOBAL\s+gtid_slave_pos\b",
    re.IGNORECASE,
)
_WHOLE: Final = re.compile(
    r"(?:UN)?LOCK\s+TABLES\b|CHANGE\s+(?:MASTER|REPLICATION)\b|(?:START|STOP)\s+(?:SLAVE|REPLICA)\b"
    r"|FLUSH\s+(?:PRIVILEGES|TABLES|LOGS)\b|ALTER\s+TABLE\s+`(?:[^`]|``)*`\s+(?:DIS|EN)ABLE\s+KEYS\b"
    rf"|(?:DROP\s+TABLE\s+IF\s+EXISTS|CREATE\s+TABLE|INSERT\s+INTO)\s+`[^`]*{MARKER_TABLE}`"
    r"|SET\s+@OLD_AUTOCOMMIT\b|SET\s+AUTOCOMMIT\s*=\s*(?:0|@OLD_AUTOCOMMIT)\s*\Z|COMMIT\s*\Z",
    re.IGNORECASE,
)
_VALUE: Final = r"\s*=\s*(?:@@?\w+|\w+|'[^']*')"
_SESSION: Final = re.compile(
    r"SET\s+(?:NAMES\s+\w+"
    rf"|(?:@(?:OLD|saved|save)_\w+|character_set_\w+|collation_connection|TIME_ZONE|UNIQUE_CHECKS"
    rf"|FOREIGN_KEY_CHECKS|SQL_NOTES|NOTE_VERBOSITY){_VALUE}"
    r"|SQL_MODE\s*=\s*(?:'NO_AUTO_VALUE_ON_ZERO'|@OLD_SQL_MODE|@saved_sql_mode))"
    rf"(?:,\s*(?:UNIQUE_CHECKS|FOREIGN_KEY_CHECKS|NOTE_VERBOSITY|SQL_NOTES|@@AUTOCOMMIT){_VALUE}"
    r"|,\s*SQL_MODE\s*=\s*'NO_AUTO_VALUE_ON_ZERO')?(?:\s*\*/)?\s*\Z",
    re.IGNORECASE,
)
_MODE: Final = re.compile(r"SET\s+sql_mode\s*=\s*'[A-Z_,]*'\s*\Z", re.IGNORECASE)


def is_dump(text: str | bytes) -> bool:
    """Whether one of the programs wrote it, by its first lines; directives may stand before them."""
    head = text[:HEAD_CHARACTERS]
    return _HEAD.search(head if isinstance(head, str) else head.decode("latin-1")) is not None


def is_left_out(sql: str, *, dump: bool) -> bool:
    """Whether a migration leaves the statement out. `dump` says that the file is one."""
    plain = _plain(sql)
    return _REPLICATION.match(plain) is not None or (dump and _WHOLE.match(plain) is not None)


def is_session(sql: str, *, dump: bool) -> bool:
    """Whether it is one of the settings that a dump makes and takes back around its statements."""
    plain = _plain(sql)
    return _SESSION.match(plain) is not None or (dump and _MODE.match(plain) is not None)


def dropped_before(sql: str) -> str:
    """The table of a DROP TABLE IF EXISTS, as it stands before a CREATE TABLE in a dump; or nothing."""
    cursor = Cursor(sql, "mysql")
    if not cursor.take("DROP", "TABLE", "IF", "EXISTS"):
        return ""
    name = cursor.name()
    return name if cursor.at_end else ""


def _plain(sql: str) -> str:
    """The statement without the executable comment that it stands in."""
    opened = _OPENED.match(sql)
    return sql[opened.end() :].removesuffix("*/").rstrip() if opened else sql
