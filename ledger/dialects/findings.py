"""What lint finds in migration files."""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.dialects.steps import Step

Severity = Literal["error", "warning"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. An `error` would stop a run or lose data by surprise; a `warning` is for the eye."""

    rule: str
    severity: Severity
    file: str
    line: int
    message: str
    hint: str = ""


def finding_at(step: Step, rule: str, severity: Severity, message: str, hint: str = "") -> Finding:
    """A finding where the step stands."""
    return Finding(
        rule=rule, severity=severity, file=step.file, line=step.line, message=message, hint=hint
    )
