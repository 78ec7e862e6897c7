"""What maintenance found and did: a line a tenant for a person, everything as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TextIO

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
    document: Mapping[str, Any], *, form: Format, out: TextIO, quiet: bool = False
) -> None:
    """The report as text, JSON, or one row a tenant; `document` is the whole report as plain values.

    With `quiet` the text has only what failed.
    """
    if form == "json":
        write_json(document, out=out)
    elif form == "table":
        symbols = Symbols(out)
        for one in document["tenants"]:
            if (
                quiet
                and (document["applied"] or not one.get("found"))
                and one.get("result") != "failed"
            ):
                continue
            write_lines(_tenant(one, symbols, applied=document["applied"]), out=out)
        if not quiet:
            write_lines([_summary(document)], out=out)
    else:
        empty = {column.key: None for column in _COLUMNS}
        rows = (empty | dict(one) for one in document["tenants"])
        write_rows(rows, _COLUMNS, form=form, out=out)


def _tenant(one: Mapping[str, Any], symbols: Symbols, *, applied: bool) -> Iterator[str]:
    name = one_line(one["tenant"])
    result = one.get("result", "current")
    if result == "failed":
        yield f"{symbols.failed} {name}: {one_line(one.get('message', ''))}"
        if one.get("hint"):
            yield f"    hint: {one_line(one['hint'])}"
        return
    for found in one.get("found", ()):
        reference = found["reference"]
        yield (
            f"{symbols.failed if not applied else symbols.done} {name}:"
            f" {count_text(found['count'], 'orphan')} in {one_line(reference['table'])},"
            f" {one_line(reference['name'])} -> {one_line(reference['parent'])}"
        )
        for sample in found.get("samples", ()):
            yield f"    {one_line(sample)}"
    yield from _what(one, name, symbols, result)
    for note in one.get("notes", ()):
        yield f"    note: {one_line(note)}"


def _what(one: Mapping[str, Any], name: str, symbols: Symbols, result: str) -> Iterator[str]:
    sizes = ""
    if one.get("bytes_before") is not None and one.get("bytes_after") is not None:
        sizes = f"{bytes_text(one['bytes_before'])} -> {bytes_text(one['bytes_after'])}"
    if result == "maintained":
        if one["task"] == "optimize":
            yield f"{symbols.done} {name}: optimised, {sizes}"
        elif one["task"] == "orphans":
            yield f"{symbols.done} {name}: {count_text(one.get('rows', 0), 'row')} mended, {sizes}"
        else:
            rows = count_text(one.get("rows", 0), "row")
            yield f"{symbols.done} {name}: {rows} archived in {one_line(one.get('file', ''))}"
    elif one["task"] == "archive":
        yield f"  {name}: {count_text(one.get('old', 0), 'old row')}"
        for path in one.get("waiting", ()):
            yield f"    an interrupted run has written {one_line(path)}; --apply finishes it"
    if one.get("held"):
        yield f"    {count_text(one['held'], 'old row')} stay: other rows refer to them"
    if one.get("unreadable"):
        yield f"    {count_text(one['unreadable'], 'row')} hold no time in that column and stay"


def _summary(document: Mapping[str, Any]) -> str:
    tenants = document["tenants"]
    total = count_text(len(tenants), "tenant")
    rows = sum(one.get("rows", 0) for one in tenants)
    orphans = sum(found["count"] for one in tenants for found in one.get("found", ()))
    old = sum(one.get("old", 0) for one in tenants)
    failed = sum(one.get("result") == "failed" for one in tenants)
    run = f" · run {document['run']}" if document.get("run") else ""
    said = {
        "optimize": f"{sum(one.get('result') == 'maintained' for one in tenants):,} optimised",
        "orphans": f"{count_text(rows, 'row')} mended"
        if document["applied"]
        else f"{count_text(orphans, 'orphan')} found",
        "archive": f"{count_text(rows, 'row')} archived"
        if document["applied"]
        else f"{count_text(old, 'old row')} found",
    }[document["task"]]
    more = f", {failed:,} failed" if failed else ""
    hint = ""
    if not document["applied"] and (orphans or old):
        hint = " Nothing was changed; add --apply to do it."
    return f"{said}{more} · {total}{run}{'.' if hint else ''}{hint}"
