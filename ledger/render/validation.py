"""What `validate` found: every invalid tenant by name, drift once for all that share it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TextIO

import msgspec

from ledger.drift import Cluster
from ledger.errors import GOES_ON, for_tenant
from ledger.fleet.validation import ValidationReport
from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import Symbols, count_text, one_line, write_lines
from ledger.runner.validate import Finding, Part

_COLUMNS: Final = (
    Column("tenant", "Tenant"),
    Column("valid", "Valid"),
    Column("checks", "Checks"),
    Column("changes", "Changes"),
    Column("missing", "Missing"),
    Column("error", "Error"),
    Column("message", "Message"),
)
_SIGNS: Final = {"added": "+", "missing": "-", "changed": "~"}
NAMES_SHOWN: Final = 10


def write_validation(
    report: ValidationReport,
    *,
    form: Format,
    out: TextIO,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """The report as text, JSON, or one row a tenant. `verbose` lists the checks that held, too;
    with `quiet` there is nothing but what does not hold.
    """
    if form == "json":
        document = msgspec.to_builtins(report)
        document |= {"valid": report.valid, "differences": report.differences}
        write_json(document | {"compliant": report.compliant}, out=out)
    elif form == "table":
        symbols = Symbols(out)
        for warning in () if quiet else report.warnings:
            out.write(f"warning: {one_line(warning)}\n")
        for finding in report.findings:
            lines = _finding(
                finding, symbols, against=report.against, verbose=verbose and not quiet
            )
            write_lines(lines, out=out)
        accepted = {finding.tenant for finding in report.findings if finding.accepted}
        for cluster in report.drift:
            as_is = cluster.tenants[0] in accepted
            write_lines(_drift(cluster, report.against, accepted=as_is), out=out)
        if report.against and not quiet:
            write_lines([_compliance(report)], out=out)
        if not quiet:
            write_lines([_summary(report)], out=out)
    else:
        write_rows(
            (msgspec.to_builtins(finding) for finding in report.findings),
            _COLUMNS,
            form=form,
            out=out,
        )


def _finding(finding: Finding, symbols: Symbols, *, against: str, verbose: bool) -> Iterator[str]:
    name = one_line(finding.tenant)
    if finding.error is not None:
        yield f"{symbols.failed} {name}: {finding.error}, {one_line(finding.message)}"
        if finding.hint:
            yield f"    hint: {one_line(finding.hint)}"
        return
    if finding.valid and not finding.accepted and not verbose:
        return
    yield f"{symbols.done if finding.valid else symbols.failed} {name}"
    for check in finding.checks:
        if verbose or not check.passed:
            sign = symbols.done if check.passed else symbols.failed
            detail = f": {one_line(check.detail)}" if check.detail else ""
            yield f"    {sign} {one_line(check.name)}{detail}"
    for missing in finding.missing:
        yield f"    {symbols.failed} {missing} is recorded as applied, and the tenant does not have it"
    for part in finding.in_part:
        yield f"    {symbols.failed} {for_tenant(_part(part), finding.tenant)}"
    if finding.interrupted:
        again = for_tenant(GOES_ON[finding.interrupted], finding.tenant)
        yield f"    {symbols.failed} a {finding.interrupted} was interrupted: `{again}` goes on with it"
    if finding.changes:
        where = one_line(against) if against else "what its migrations define"
        sign, what = (symbols.done, "accepted: ") if finding.accepted else (symbols.failed, "")
        yield f"    {sign} {what}{count_text(len(finding.changes), 'difference')} from {where}"


def _part(part: Part) -> str:
    if part.direction == "down":
        return (
            f"{part.migration} is being rolled back (up to its down step {part.step}):"
            f" `ledger rollback {part.migration} --tenant NAME` goes on with it"
        )
    return (
        f"{part.migration} has landed in part (up to step {part.step}):"
        " `ledger migrate --tenant NAME` goes on with it,"
        f" `ledger rollback {part.migration} --tenant NAME` undoes it"
    )


def _drift(cluster: Cluster, against: str, *, accepted: bool) -> Iterator[str]:
    names = ", ".join(one_line(name) for name in cluster.tenants[:NAMES_SHOWN])
    more = len(cluster.tenants) - NAMES_SHOWN
    names += f" and {more:,} more" if more > 0 else ""
    what = f"Not as {one_line(against)}" if against else "Accepted" if accepted else "Drift"
    yield f"{what}, alike in {count_text(len(cluster.tenants), 'tenant')} ({names}):"
    for change in cluster.changes:
        line = f"  {_SIGNS[change.how]} {change.kind} {one_line(change.name)} {change.how}"
        if change.how == "changed":
            line += f": {one_line(change.expected)} -> {one_line(change.found)}"
        yield line


def _compliance(report: ValidationReport) -> str:
    """How many tenants are as the file says, and what kinds of objects are not."""
    kinds = [
        f"{kind} " + ", ".join(f"{count:,} {how}" for how, count in sorted(counts.items()))
        for kind, counts in sorted(report.differences.items())
    ]
    detail = f" ({'; '.join(kinds)})" if kinds else ""
    total = count_text(len(report.findings), "tenant")
    return f"As {one_line(report.against)} says: {report.compliant:,} of {total}{detail}."


def _summary(report: ValidationReport) -> str:
    total = len(report.findings)
    valid = sum(finding.valid for finding in report.findings)
    checks = sum(len(finding.checks) for finding in report.findings)
    counted = f"{count_text(total, 'tenant')} validated, {count_text(checks, 'check')}"
    return (
        f"{counted}: all valid." if valid == total else f"{counted}: {total - valid:,} not valid."
    )
