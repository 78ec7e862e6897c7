"""Steps that no run can apply, found before anything runs."""

from __future__ import annotations

from typing import Final

from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.connection import uses
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.split import Statement
from ledger.dialects.wording import label
from ledger.errors import ScriptError

_ROUTINES: Final = ("procedure", "function", "trigger", "event", "package", "package body")


def beyond_connection(statement: Statement, *, file: str) -> ScriptError | None:
    """Why the connection of a run cannot give the statement what it needs; None if it can."""
    refusal = uses(statement.readable).refusal
    if refusal is None:
        return None
    return ScriptError(refusal[0], file=file, line=statement.line, hint=refusal[1])


def cut_routine(statement: Statement, kind: StatementKind, *, file: str) -> ScriptError | None:
    """The error for CREATE PROCEDURE … BEGIN without its END, the classic missing DELIMITER; else None.

    A body without BEGIN is one statement and needs no END.
    """
    if not kind.makes(*_ROUTINES):
        return None
    words = [token.upper for token in SYNTAX.tokens(statement.readable) if token.upper]
    if "BEGIN" not in words or "END" in words[words.index("BEGIN") :]:
        return None
    return ScriptError(
        f"the body of {label(kind)} was cut at its first ;",
        file=file,
        line=statement.line,
        hint="Put DELIMITER $$ on a line before it, end it with $$, and DELIMITER ; on a line after.",
    )
