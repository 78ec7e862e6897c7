"""Rows and columns as a table, JSON, JSON Lines or CSV.

Invariant: json, jsonl and csv hold every value whole and need no terminal;
only the table is shaped for a person. None of them has a raw control character but line
feeds and tabs, and no cell of a CSV is a formula.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import msgspec

from ledger.render.columns import Column, width_of
from ledger.render.terminal import TerminalTable
from ledger.render.text import cell, csv_cell, plain_json

Format = Literal["table", "json", "jsonl", "csv"]


PAGE_ROWS: Final = 1_000
"""A table is as wide as so many of its first rows; no more of them are held."""


class RowWriter:
    """Writes rows as they come; a table waits for some, to know its widths.

    `empty` is what a table says when there were no rows. Without `header`, a CSV goes on.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        form: Format,
        out: TextIO,
        empty: str = "",
        header: bool = True,
    ) -> None:
        self._columns = columns
        self._form = form
        self._out = out
        self._empty = empty
        self._header = header
        self._count = 0
        self._kept: list[list[str]] = []
        self._table: TerminalTable | PlainTable | None = None
        self._csv = csv.writer(out, lineterminator="\n")

    def __enter__(self) -> RowWriter:
        if self._form == "csv" and self._header:
            self._csv.writerow([column.key for column in self._columns])
        return self

    def row(self, row: Mapping[str, Any], *, encoded: bytes | None = None) -> None:
        """Add one row. `encoded` is its JSON where that exists already; keys without a column stay in JSON."""
        if self._form == "table":
            if len(self._kept) == PAGE_ROWS:
                self._write_kept(more=True)
            self._kept.append([cell(row.get(column.key)) for column in self._columns])
        elif self._form == "csv":
            self._csv.writerow([_csv_value(row.get(column.key)) for column in self._columns])
        else:
            text = plain_json((encoded or msgspec.json.encode(row)).decode())
            if self._form == "jsonl":
                self._out.write(text + "\n")
            else:
                self._out.write((",\n" if self._count else "[\n") + text)
        self._count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            return
        if self._form == "json":
            self._out.write("\n]\n" if self._count else "[]\n")
        elif self._form == "table":
            self._write_kept(more=False)
            if self._table is not None:
                self._table.end()
            elif self._empty:
                self._out.write(self._empty + "\n")

    def _write_kept(self, *, more: bool) -> None:
        if self._table is None and self._kept:
            kind = TerminalTable if self._out.isatty() else PlainTable
            self._table = kind(self._columns, self._kept, out=self._out, more=more)
        if self._table is not None:
            self._table.write(self._kept)
        self._kept.clear()


def _csv_value(value: object) -> object:
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, str):
        return csv_cell(value)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return csv_cell(" ".join(value))
    return csv_cell(msgspec.json.encode(value).decode())


def write_rows(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    form: Format,
    out: TextIO,
    empty: str = "",
) -> None:
    """Write all rows that are at hand."""
    with RowWriter(columns, form=form, out=out, empty=empty) as writer:
        for row in rows:
            writer.row(row)


def write_json(value: object, *, out: TextIO) -> None:
    """Write one JSON document, on one line for a program and indented for a terminal."""
    data: Any = msgspec.to_builtins(value)
    text = (
        json.dumps(data, indent=2, ensure_ascii=False)
        if out.isatty()
        else msgspec.json.encode(data).decode()
    )
    out.write(plain_json(text) + "\n")


class PlainTable:
    """Two spaces between columns and none at a line's end; nothing heavy is imported for it.

    As wide as the `first` rows; a wider cell of a later one moves only its own row. No column is left out.
    """

    def __init__(
        self, columns: Sequence[Column], first: Sequence[Sequence[str]], *, out: TextIO, more: bool
    ) -> None:
        self._columns = columns
        self._out = out
        titles = [column.title for column in columns]
        lines = [titles, *first]
        self._widths = [
            max(width_of(line[index]) for line in lines) for index in range(len(columns))
        ]
        self.write([titles])

    def write(self, rows: Sequence[Sequence[str]]) -> None:
        """The next rows."""
        for line in rows:
            cells = []
            for text, width, column in zip(line, self._widths, self._columns, strict=True):
                gap = " " * (width - width_of(text))
                cells.append(gap + text if column.number else text + gap)
            self._out.write("  ".join(cells).rstrip() + "\n")

    def end(self) -> None:
        """There are no more rows."""
