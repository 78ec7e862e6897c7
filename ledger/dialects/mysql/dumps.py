"""What mysqldump and mariadb-dump write for the client and for the server that takes a dump whole.

Invariant: what is left out changes neither the schema nor a row: lines that only the client
understands, locks, a tenant's marker, and the state of replication; all of it by the form that
the programs write.
"""

from __future__ import annotations

import re
from typing import Final

from ledger.dialects.base import HEAD_CHARACTERS, DumpPart
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.steps import MARKER_TABLE

CLIENT_LINE: Final = (
    r"/\*M?!999999\\-[^*\n]*+\*/"
    r"|(?:mysqldump|mariadb-dump): [^\n]*+"
    r"|WARNING: option --[\w-]+ is disabled[^\n]*+"
    r"|Warning: A (?:partial dump|dump from a server)[^\n]*+"
    r"|In order to ensure a consistent backup of the database, pass [^\n]*+"
)
"""Where a statement would start: the sandbox mode's command, and what the programs say on stderr."""

_HEAD: Final = re.compile(r"-- (?:MySQL|MariaDB) dump |/\*M?!999999\\-")
_CHARACTER_SET: Final = re.compile(r"SET NAMES (\w+)")
_BINARY: Final = "_binary '"
_HEX: Final = "Take the dump again with --hex-blob: it holds the bytes of binary columns."
_SHELL: Final = "Take the dump again with --result-file=FILE: the shell has changed its bytes."
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


def is_dump(text: str) -> bool:
    """Whether one of the programs wrote it, by its first lines; directives may stand before them."""
    return _HEAD.search(text, 0, HEAD_CHARACTERS) is not None


def dump_hint(head: str, *, line: str = "", wide: bool = False) -> str:
    """How to take a dump again whose bytes are no text: as `Dialect.dump_hint`."""
    dump = is_dump(head)
    if wide:
        return _SHELL if dump else ""
    if _BINARY in line:
        return _HEX
    if not dump:
        return ""
    names = _CHARACTER_SET.search(head)
    if names is not None and not names[1].lower().startswith("utf8"):
        return "Take the dump again with --default-character-set=utf8mb4."
    return _HEX


def dump_part(sql: str, *, dump: bool, sync: bool) -> DumpPart:
    """What a dump has the statement for: as `Dialect.dump_part`."""
    opened = _OPENED.match(sql)
    # The statement without the executable comment that it stands in.
    plain = sql[opened.end() :].removesuffix("*/").rstrip() if opened else sql
    if _REPLICATION.match(plain) or (dump and _WHOLE.match(plain)):
        return "restore"
    if not sync:
        return ""
    if _SESSION.match(plain) or (dump and _MODE.match(plain)):
        return "setting"
    cursor = SYNTAX.cursor(sql)
    alone = cursor.take("DROP", "TABLE", "IF", "EXISTS") and cursor.name() and cursor.at_end
    return "drop" if alone else ""
