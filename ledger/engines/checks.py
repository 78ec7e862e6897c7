"""What becomes of a migration's checks, the same on every engine."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors import CheckFailedError
from ledger.events import CheckResult
from ledger.scripts.model import Check


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
