"""What a guard's or a check's value means, and what becomes of checks: the same on every engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ledger.dialects.steps import Check
from ledger.errors import CheckFailedError, RestoreError
from ledger.events import CheckResult, Mark

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


def require_fingerprint(mark: Mark, fingerprint: str, *, tenant: str) -> None:
    """Raises RestoreError if what was restored is not the schema that was backed up (empty: not known)."""
    if fingerprint and mark.fingerprint != fingerprint:
        raise RestoreError(
            f"the restored schema has fingerprint {mark.fingerprint}, the backup had {fingerprint}",
            tenant=tenant,
            hint="Run the restore again; if it stays so, restore another backup.",
        )


def shortened(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
