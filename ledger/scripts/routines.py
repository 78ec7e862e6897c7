"""A MySQL routine that was split at its own semicolons is refused with what to write."""

from __future__ import annotations

import re
from typing import Final

from ledger.errors import ScriptError
from ledger.scripts.kinds import StatementKind
from ledger.scripts.split import Statement
from ledger.scripts.tokens import tokens

_ROUTINE: Final = re.compile(r"CREATE .*?\b(?:PROCEDURE|FUNCTION|TRIGGER|EVENT|PACKAGE)\b")


def require_whole_routine(statement: Statement, kind: StatementKind, *, file: str) -> None:
    """Refuse CREATE PROCEDURE … BEGIN without its END: the classic missing DELIMITER.

    Raises ScriptError. A body without BEGIN is one statement and needs none.
    """
    if not _ROUTINE.match(kind.label):
        return
    words = [token.upper for token in tokens(statement.sql, "mysql") if token.upper]
    if "BEGIN" in words and "END" not in words[words.index("BEGIN") :]:
        raise ScriptError(
            f"the body of {kind.label} was cut at its first ;",
            file=file,
            line=statement.line,
            hint="Put DELIMITER $$ on a line before it, end it with $$, and DELIMITER ; on a line after.",
        )
