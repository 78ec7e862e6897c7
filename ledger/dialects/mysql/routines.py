"""A MySQL routine that was split at its own semicolons is refused with what to write."""

from __future__ import annotations

from typing import Final

from ledger.dialects.kinds import StatementKind
from ledger.dialects.split import Statement
from ledger.dialects.tokens import tokens
from ledger.dialects.wording import label
from ledger.errors import ScriptError

_ROUTINES: Final = ("procedure", "function", "trigger", "event", "package", "package body")


def require_whole_routine(statement: Statement, kind: StatementKind, *, file: str) -> None:
    """Refuse CREATE PROCEDURE … BEGIN without its END: the classic missing DELIMITER.

    Raises ScriptError. A body without BEGIN is one statement and needs none.
    """
    if not kind.makes(*_ROUTINES):
        return
    words = [token.upper for token in tokens(statement.sql, "mysql") if token.upper]
    if "BEGIN" in words and "END" not in words[words.index("BEGIN") :]:
        raise ScriptError(
            f"the body of {label(kind)} was cut at its first ;",
            file=file,
            line=statement.line,
            hint="Put DELIMITER $$ on a line before it, end it with $$, and DELIMITER ; on a line after.",
        )
