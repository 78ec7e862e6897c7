"""`validate`: checks and schemas of the chosen tenants, and what could not be asked."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ledger.calls.call import Call
from ledger.errors import TenantError
from ledger.fleet.validation import ValidationReport, validate_fleet
from ledger.folder.schema import read_wanted_schema
from ledger.requests import Validate
from ledger.runner.validate import Finding


async def validate(call: Call, request: Validate) -> ValidationReport:
    """Validate every chosen tenant. One of another ledger, and a source that did not answer, is not valid."""
    chosen = call.chosen
    strange = {stranger.tenant for stranger in chosen.strangers}
    against = None
    if request.schema is not None:
        dialects = frozenset(target.engine for target in chosen.targets)
        against = await read_wanted_schema(Path(request.schema), dialects)
    report = await validate_fleet(
        call.ctx,
        [target for target in chosen.targets if target.name not in strange],
        chosen.catalogues,
        call.ready.engines.__getitem__,
        parallel=call.bounds.parallel,
        progress=call.progress,
        against=against,
        accept=request.accept,
    )
    return msgspec.structs.replace(
        report,
        findings=(
            *(_not_asked(stranger.tenant, stranger.error) for stranger in chosen.strangers),
            *report.findings,
            *(_not_asked(lost.source, lost.error) for lost in chosen.found.lost),
        ),
    )


def _not_asked(name: str, error: TenantError) -> Finding:
    return Finding(
        tenant=name, valid=False, error=error.code, message=error.message, hint=error.hint
    )
