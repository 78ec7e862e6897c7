"""What `doctor` found, as text and rows: what is wrong first, what is fine in few words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TextIO

import msgspec

from ledger.doctor.report import DoctorReport
from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import Symbols, count_text, one_line, write_lines

_COLUMNS: Final = (
    Column("area", "Area"),
    Column("tenant", "Tenant"),
    Column("check", "Check"),
    Column("level", "Level"),
    Column("detail", "Detail"),
    Column("hint", "Hint"),
)


def write_doctor(
    report: DoctorReport, *, form: Format, out: TextIO, verbose: bool, quiet: bool = False
) -> None:
    """The report as text, one JSON document, or a row a finding. `verbose` shows what is fine of tenants too;
    with `quiet` there is nothing but what failed.
    """
    rows = [msgspec.to_builtins(finding) for finding in report.findings]
    if form == "json":
        document = {"sound": report.sound, "tenants": report.tenants, "summary": report.summary}
        write_json({**document, "findings": rows}, out=out)
    elif form == "table":
        lines = doctor_lines(report, verbose=verbose, quiet=quiet, symbols=Symbols(out))
        write_lines(lines, out=out)
    else:
        write_rows(rows, _COLUMNS, form=form, out=out)


def doctor_lines(
    report: DoctorReport, *, verbose: bool, symbols: Symbols, quiet: bool = False
) -> Iterator[str]:
    """The host, the ledger and the backups whole; of tenants what is not fine, and how many are."""
    signs = {"ok": symbols.done, "warning": "!", "failed": symbols.failed}
    for finding in report.findings:
        if quiet and finding.level != "failed":
            continue
        if finding.area == "tenant" and finding.level == "ok" and not verbose:
            continue
        where = finding.tenant or finding.area
        yield f"{signs[finding.level]} {one_line(where)}: {finding.check}: {one_line(finding.detail)}"
        if finding.hint and finding.level != "ok":
            yield f"    hint: {one_line(finding.hint)}"
    if quiet:
        return
    wrong = {
        finding.tenant
        for finding in report.findings
        if finding.tenant and finding.level == "failed"
    }
    counts = report.summary
    yield (
        f"{count_text(report.tenants, 'tenant')} checked, {report.tenants - len(wrong):,} sound; "
        f"{counts['ok']:,} checks ok, {count_text(counts['warning'], 'warning')},"
        f" {counts['failed']:,} failed."
    )
