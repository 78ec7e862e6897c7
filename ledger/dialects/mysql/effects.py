"""What a MySQL or MariaDB statement that seems to ask or to assign may do besides.

A SELECT, DO or SET can call a function that writes, draw from a sequence, or write a file.
Invariant: whether a function that is called is one of the server's own is not decided
here: `calls` are names to be looked up, and only names that are surely harmless are
left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from ledger.dialects.kinds import Unsettled
from ledger.dialects.syntax import Effects
from ledger.dialects.tokens import Token

_NAMES: Final = """
    ALL AND ANY AS BETWEEN BY CASE COLUMNS CROSS CUBE DISTINCT DIV DO ELSE END EXCEPT EXISTS EXPLAIN FOR FORCE
    FROM HAVING IGNORE IN INDEX INNER INTERSECT INTERVAL INTO IS JOIN KEY LEFT LIKE LIMIT MOD NOT OFFSET ON OR
    OUTER OVER PARTITION RECURSIVE REGEXP RETURN RIGHT RLIKE ROLLUP ROW SELECT SET SOME THEN UNION USE USING
    VALUE VALUES WHEN WHERE WINDOW WITH XOR
    ABS ANY_VALUE ASCII AVG BINARY BIT_AND BIT_OR CAST CEIL CEILING CHAR CHARACTER_LENGTH CHAR_LENGTH COALESCE
    COLLATION CONCAT CONCAT_WS CONVERT COUNT CRC32 CURDATE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP
    CURRENT_USER CURTIME DATABASE DATE DATEDIFF DATE_ADD DATE_FORMAT DATE_SUB DECIMAL DENSE_RANK ELT EXTRACT
    FIELD FIND_IN_SET FIRST_VALUE FLOOR FORMAT FOUND_ROWS FROM_UNIXTIME GET_LOCK GREATEST GROUPING GROUP_CONCAT
    HEX IF IFNULL INET6_ATON INET_ATON INSTR IS_FREE_LOCK IS_USED_LOCK JSON_ARRAY JSON_ARRAYAGG JSON_CONTAINS
    JSON_EXTRACT JSON_LENGTH JSON_MERGE_PATCH JSON_OBJECT JSON_OBJECTAGG JSON_QUERY JSON_REMOVE JSON_REPLACE
    JSON_SEARCH JSON_SET JSON_TABLE JSON_UNQUOTE JSON_VALID JSON_VALUE LAG LAST_INSERT_ID LAST_VALUE LCASE LEAD
    LEAST LENGTH LN LOCALTIME LOCALTIMESTAMP LOCATE LOG LOWER LPAD LTRIM MAX MD5 MID MIN NOW NTILE NULLIF
    OCTET_LENGTH ORD PERCENT_RANK POSITION POW POWER QUOTE RAND RANK REGEXP_REPLACE RELEASE_LOCK REPEAT REPLACE
    REVERSE ROUND ROW_COUNT ROW_NUMBER RPAD RTRIM SCHEMA SHA SHA1 SHA2 SIGN SLEEP SQRT STDDEV STR_TO_DATE
    SUBSTR SUBSTRING SUBSTRING_INDEX SUM SYSDATE TIME TIMESTAMP TIMESTAMPDIFF TRIM TRUNCATE UCASE UNHEX
    UNIX_TIMESTAMP UPPER USER UTC_TIMESTAMP UUID UUID_SHORT VARIANCE VERSION YEAR
"""
"""Keywords that stand before a parenthesis, and functions of both servers that migrations call often.

The list spares a question to the server, and decides nothing: a name that is missing is looked up.
"""
_HARMLESS: Final = frozenset(_NAMES.split())

_SEQUENCE: Final = frozenset({"NEXTVAL", "SETVAL"})
_FILES: Final = frozenset({"OUTFILE", "DUMPFILE"})
_NOTHING: Final = Token("other", "", "")


_CALL: Final = re.compile(
    r"(?<![\w$])(?:(?P<owner>[\w$]++|`[^`]++`)\s*+\.\s*+)?(?P<name>[\w$]++|`[^`]++`|\"[^\"]++\")"
    r"\s*+(?:/\*[^*]*+\*/\s*+)?\("
)


@lru_cache(maxsize=512)
def called(sql: str) -> tuple[str, ...]:
    """As `Effects.calls`, for long statements: what only seems to be a call, in a literal, is among them."""
    found: dict[str, None] = {}
    for match in _CALL.finditer(sql):
        owner, name = match["owner"], match["name"].strip('`"')
        if owner is not None:
            found[f"{owner.strip('`')}.{name}"] = None
        elif name.upper() not in _HARMLESS:
            found[name] = None
    return tuple(found)


def effects(words: Iterable[Token]) -> Effects:
    """What the statement with these tokens may do."""
    calls: dict[str, None] = {}
    unsettled: Unsettled = ""
    earlier, before, last = _NOTHING, _NOTHING, _NOTHING
    for token in words:
        if last.upper == "INTO" and token.upper in _FILES:
            unsettled = "file_written"
        elif token.upper == "NEXTVAL" and last.text == ".":
            # The ORACLE mode's s.NEXTVAL.
            unsettled = unsettled or "sequence"
        elif [last.upper, token.upper] == ["VALUE", "FOR"] and before.upper == "NEXT":
            unsettled = unsettled or "sequence"
        elif token.text == "(" and token.kind == "other" and last.kind in ("word", "quoted"):
            if last.upper in _SEQUENCE:
                unsettled = unsettled or "sequence"
            elif before.text == ".":
                calls[f"{earlier.text}.{last.text}"] = None
            elif last.upper not in _HARMLESS:
                calls[last.text] = None
        earlier, before, last = before, last, token
    return Effects(tuple(calls), unsettled)
