"""What a guard's or a check's value means, and what becomes of checks: the same on every engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ledger.errors import CheckFailedError
from ledger.events import CheckResult
from ledger.scripts.model import Check

_FALSE: Final = re.compile(r"\s*(?:[+-]?(?:0+\.?0*|\.0+)|false)?\s*", re.IGNORECASE)


def is_true(value: object) -> bool:
    """Not 0, not NULL, not empty; nor a text that says 0 or false, nor bytes that are all zero."""
    if isinstance(value, bytes):
        return any(value) and is_true(value.decode("utf-8", "replace"))
    if isinstance(value, str):
        return _FALSE.fullmatch(value) is None
    return bool(value)


def require_checks(
    results: Sequence[CheckResult], checks: Sequence[Check], *, tenant: str, migration: str
) -> None:
    """Raises CheckFailedError that names every check that did not hold, at the first one's line."""
    failed = [
        (check, result) for check, result in zip(checks, results, strict=True) if not result.passed
    ]
    if failed:
        first = failed[0][0]
        raise CheckFailedError(
            "; ".join(f"check {check.name!r} failed: {result.detail}" for check, result in failed),
            hint="Correct the migration or the data, then run the command again.",
            tenant=tenant,
            migration=migration,
            file=first.file,
            line=first.line,
        )
