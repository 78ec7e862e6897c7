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
from typing import Any, Literal, TextIO

import msgspec

from ledger.render.columns import Column, width_of
from ledger.render.terminal import write_terminal_table
from ledger.render.text import cell, csv_cell, plain_json

Format = Literal["table", "json", "jsonl", "csv"]


class RowWriter:
    """Writes rows as they come; a table waits for the last one, to know its widths.

    `empty` is what a table says when there were no rows.
    """

    def __init__(
        self, columns: Sequence[Column], *, form: Format, out: TextIO, empty: str = ""
    ) -> None:
        self._columns = columns
        self._form = form
        self._out = out
        self._empty = empty
        self._count = 0
        self._kept: list[list[str]] = []
        self._csv = csv.writer(out, lineterminator="\n")

    def __enter__(self) -> RowWriter:
        if self._form == "csv":
            self._csv.writerow([column.key for column in self._columns])
        return self

    def row(self, row: Mapping[str, Any], *, encoded: bytes | None = None) -> None:
        """Add one row. `encoded` is its JSON where that exists already; keys without a column stay in JSON."""
        if self._form == "table":
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
            self._table()

    def _table(self) -> None:
        if self._kept:
            write_table(self._columns, self._kept, out=self._out)
        elif self._empty:
            self._out.write(self._empty + "\n")


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


def write_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, out: TextIO) -> None:
    """A table; on a terminal as wide as that is (terminal.py), elsewhere no column is left out."""
    if out.isatty():
        write_terminal_table(columns, rows, out=out)
    else:
        _plain_table(columns, rows, out)


def _plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], out: TextIO) -> None:
    """Two spaces between columns and none at a line's end; nothing heavy is imported for it."""
    lines = [[column.title for column in columns], *rows]
    widths = [max(width_of(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = []
        for text, width, column in zip(line, widths, columns, strict=True):
            gap = " " * (width - width_of(text))
            cells.append(gap + text if column.number else text + gap)
        out.write("  ".join(cells).rstrip() + "\n")
