"""What maintenance found and did: a line a tenant for a person, everything as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TextIO

import msgspec

from ledger.maintain.report import MaintainReport, TenantMaintenance
from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import Symbols, bytes_text, count_text, one_line, write_lines

_COLUMNS: Final = (
    Column("tenant", "Tenant"),
    Column("task", "Task"),
    Column("result", "Result"),
    Column("rows", "Rows", number=True),
    Column("found", "Found"),
    Column("old", "Old", number=True),
    Column("file", "File"),
    Column("bytes_before", "Before", number=True),
    Column("bytes_after", "After", number=True),
    Column("error", "Error"),
    Column("message", "Message"),
)


def write_maintained(
    report: MaintainReport, *, form: Format, out: TextIO, quiet: bool = False
) -> None:
    """The report as text, JSON, or one row a tenant. With `quiet` the text has only what failed."""
    if form == "json":
        write_json(report, out=out)
    elif form == "table":
        symbols = Symbols(out)
        for tenant in report.tenants:
            left = not report.applied and tenant.found
            if not quiet or left or tenant.result == "failed":
                write_lines(_tenant(tenant, symbols, applied=report.applied), out=out)
        if not quiet:
            write_lines([_summary(report)], out=out)
    else:
        empty = {column.key: None for column in _COLUMNS}
        rows = (empty | msgspec.to_builtins(tenant) for tenant in report.tenants)
        write_rows(rows, _COLUMNS, form=form, out=out)


def _tenant(tenant: TenantMaintenance, symbols: Symbols, *, applied: bool) -> Iterator[str]:
    name = one_line(tenant.tenant)
    if tenant.result == "failed":
        yield f"{symbols.failed} {name}: {one_line(tenant.message)}"
        if tenant.hint:
            yield f"    hint: {one_line(tenant.hint)}"
        return
    for orphans in tenant.found:
        reference = orphans.reference
        yield (
            f"{symbols.failed if not applied else symbols.done} {name}:"
            f" {count_text(orphans.count, 'orphan')} in {one_line(reference.table)},"
            f" {one_line(reference.name)} -> {one_line(reference.parent)}"
        )
        for sample in orphans.samples:
            yield f"    {one_line(sample)}"
    yield from _done(tenant, name, symbols)
    for note in tenant.notes:
        yield f"    note: {one_line(note)}"


def _done(tenant: TenantMaintenance, name: str, symbols: Symbols) -> Iterator[str]:
    """What was done, and what stays."""
    sizes = ""
    if tenant.bytes_before is not None and tenant.bytes_after is not None:
        sizes = f"{bytes_text(tenant.bytes_before)} -> {bytes_text(tenant.bytes_after)}"
    if tenant.result == "maintained":
        rows = count_text(tenant.rows, "row")
        yield (
            f"{symbols.done} {name}: "
            + {
                "optimize": f"optimised, {sizes}",
                "orphans": f"{rows} mended, {sizes}",
                "archive": f"{rows} archived in {one_line(tenant.file)}",
            }[tenant.task]
        )
    elif tenant.task == "archive":
        yield f"  {name}: {count_text(tenant.old, 'old row')}"
        for path in tenant.waiting:
            yield f"    an interrupted run has written {one_line(path)}; --apply finishes it"
    if tenant.held:
        yield f"    {count_text(tenant.held, 'old row')} stay: other rows refer to them"
    if tenant.unreadable:
        yield f"    {count_text(tenant.unreadable, 'row')} hold no time in that column and stay"


def _summary(report: MaintainReport) -> str:
    tenants = report.tenants
    rows = count_text(sum(tenant.rows for tenant in tenants), "row")
    orphans = sum(found.count for tenant in tenants for found in tenant.found)
    old = sum(tenant.old for tenant in tenants)
    failed = sum(tenant.result == "failed" for tenant in tenants)
    optimised = sum(tenant.result == "maintained" for tenant in tenants)
    said = {
        "optimize": f"{optimised:,} optimised",
        "orphans": f"{rows} mended" if report.applied else f"{count_text(orphans, 'orphan')} found",
        "archive": f"{rows} archived" if report.applied else f"{count_text(old, 'old row')} found",
    }[report.task]
    more = f", {failed:,} failed" if failed else ""
    run = f" · run {report.run}" if report.run else ""
    summary = f"{said}{more} · {count_text(len(tenants), 'tenant')}{run}"
    if report.applied or not (orphans or old):
        return summary
    return f"{summary}. Nothing was changed; add --apply to do it."
