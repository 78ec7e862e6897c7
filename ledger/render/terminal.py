"""A table on a terminal, of whatever width it is.

Invariant: no cell is ever cut. Where a row is too wide, the least important columns are left out, and
named below; then long texts fold, or go below their row; names of tenants and runs stay whole. Errors
stand below the table, alike ones once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TextIO

from ledger.render.columns import Column, width_of
from ledger.render.text import count_text

if TYPE_CHECKING:
    from rich.text import Text

GAP: Final = "  "
INDENT: Final = "    "
"""Before what stands below its row."""

BELOW: Final = ("error", "problem")
"""Columns whose texts stand below the table."""

LEFT_OUT: Final = (
    "reason", "actor", "by_run", "source", "path", "last_event_at", "finished_at", "engine", "prefix",
    "p95_us", "p95_bytes", "slowest", "largest", "max_us", "max_bytes", "size", "again",
    "down_time", "count", "in_part", "growth_bytes", "tenants", "applied", "bytes", "started_at",
    "at", "up", "down", "database", "sets", "pending", "version", "set",
)  # fmt: skip
"""Columns that may be left out, the least important first. All others are always there."""

FOLDED: Final = {
    "what": 24,
    "outcomes": 16,
    "pending": 16,
    "sets": 12,
    "database": 40,
    "definition": 30,
    "name": 20,
    "notes": 24,
    "hint": 24,
    "migrations": 24,
    "known": 24,
    "applied": 15,
}
"""Columns of long texts, which may fold, each to this width; below its row is where it goes then."""

STYLES: Final = {
    "current": "green",
    "done": "green",
    "pending": "yellow",
    "new": "yellow",
    "running": "cyan",
    "failed": "bold red",
    "in_doubt": "bold red",
    "drifted": "red",
    "regressed": "red",
    "unreachable": "red",
    "foreign": "red",
    "error": "bold red",
    "warning": "yellow",
}


def folded(text: str, width: int) -> list[str]:
    """The text in lines of at most `width`, broken between words, and within one only if it is wider."""
    lines = [""]
    for word in text.split(" "):
        if width_of(lines[-1]) + width_of(word) + bool(lines[-1]) <= width:
            lines[-1] += f" {word}" if lines[-1] else word
            continue
        if lines[-1]:
            lines.append("")
        for char in word:
            if width_of(lines[-1]) + width_of(char) > width:
                lines.append("")
            lines[-1] += char
    return lines


class _Shape(NamedTuple):
    """Which columns stand in the table, how wide, which go below each row, and which are left out."""

    shown: list[int]
    widths: dict[int, int]
    under: list[int]
    left_out: list[int]


def _shape(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, more: bool
) -> _Shape:
    shown = [
        index
        for index, column in enumerate(columns)
        if column.key not in BELOW and (more or any(row[index] for row in rows))
    ]
    natural = {
        index: max(width_of(columns[index].title), *(width_of(row[index]) for row in rows))
        for index in shown
    }
    least = {
        index: min(natural[index], FOLDED.get(columns[index].key, natural[index]))
        for index in shown
    }
    left_out: list[int] = []
    droppable = [
        index for key in LEFT_OUT for index in shown if columns[index].key == key and len(shown) > 1
    ]
    while droppable and _total(shown, least) > width:
        index = droppable.pop(0)
        shown.remove(index)
        left_out.append(index)
    for index in tuple(reversed(left_out)):
        # A wide one that went later may have left room for one that went before.
        if _total([*shown, index], least) <= width:
            left_out.remove(index)
            shown = sorted([*shown, index])
    under = []
    if _total(shown, least) > width:
        under = [index for index in shown if columns[index].key in FOLDED]
        shown = [index for index in shown if index not in under] or [under.pop(0)]
    widths = {index: natural[index] for index in shown}
    for index in reversed(shown):
        too_wide = _total(shown, widths) - width
        if too_wide > 0:
            widths[index] = max(least[index], widths[index] - too_wide)
    return _Shape(shown, widths, under, sorted(left_out))


def _total(shown: Sequence[int], widths: dict[int, int]) -> int:
    return sum(widths[index] for index in shown) + len(GAP) * (len(shown) - 1)


class TerminalTable:
    """The table, then the names of the columns that had no room, and the errors.

    Its shape is that of the `first` rows; if `more` come, no column counts as empty.
    """

    def __init__(
        self, columns: Sequence[Column], first: Sequence[Sequence[str]], *, out: TextIO, more: bool
    ) -> None:
        from rich.console import Console

        self._columns = columns
        self._console = Console(file=out, highlight=False)
        self._shape = _shape(columns, first, self._console.width, more=more)
        self._errors = _Errors(columns)
        shape = self._shape
        titles = [columns[index].title for index in shape.shown]
        for line in _row(columns, shape, titles, header=True):
            self._line(line)
        rule = "─" if (self._console.encoding or "").lower().startswith("utf") else "-"
        self._line(rule * min(self._console.width, _total(shape.shown, shape.widths)))

    def _line(self, line: Text | str) -> None:
        # What is wider than the terminal all the same is wrapped by it, and not cut here.
        self._console.print(line, soft_wrap=True, markup=False)

    def write(self, rows: Sequence[Sequence[str]]) -> None:
        """The next rows."""
        shape = self._shape
        for row in rows:
            for line in _row(self._columns, shape, [row[index] for index in shape.shown]):
                self._line(line)
            for index in shape.under:
                if row[index]:
                    for text in folded(row[index], max(20, self._console.width - len(INDENT))):
                        self._line(f"{INDENT}{text}")
            self._errors.add(row)

    def end(self) -> None:
        """There are no more rows."""
        from rich.text import Text

        width = self._console.width
        if self._shape.left_out:
            names = ", ".join(self._columns[index].title for index in self._shape.left_out)
            for text in folded(f"No room for: {names} (--format json has all).", width):
                self._line(Text(text, style="dim"))
        for text in self._errors.lines(width):
            self._line(text)


def _row(
    columns: Sequence[Column], shape: _Shape, cells: Sequence[str], *, header: bool = False
) -> Iterator[Text]:
    from rich.text import Text

    parts = [
        folded(cell, shape.widths[index]) if columns[index].key in FOLDED else [cell]
        for index, cell in zip(shape.shown, cells, strict=True)
    ]
    for number in range(max(map(len, parts))):
        line = Text()
        for position, index in enumerate(shape.shown):
            text = parts[position][number] if number < len(parts[position]) else ""
            gap = " " * (shape.widths[index] - width_of(text))
            last = index == shape.shown[-1]
            style = "bold" if header else STYLES.get(text, "")
            if columns[index].number:
                line.append(gap)
            line.append(text, style=style)
            if not columns[index].number and not last:
                line.append(gap)
            line.append("" if last else GAP)
        yield line


class _Errors:
    """Each text of the columns below the table once, with all whose it is, the one of most tenants first."""

    def __init__(self, columns: Sequence[Column]) -> None:
        keys = [column.key for column in columns]
        self._tenant = keys.index("tenant") if "tenant" in keys else 0
        self._whose: dict[int, dict[str, list[str]]] = {
            keys.index(key): {} for key in BELOW if key in keys
        }

    def add(self, row: Sequence[str]) -> None:
        for index, whose in self._whose.items():
            if row[index]:
                whose.setdefault(row[index], []).append(row[self._tenant])

    def lines(self, width: int) -> Iterator[str]:
        for whose in self._whose.values():
            for text, names in sorted(whose.items(), key=lambda group: -len(group[1])):
                yield ""
                yield f"{count_text(len(names), 'tenant')}: {text}"
                yield from _names(names, width)


def _names(names: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for number, name in enumerate(names):
        text = name if number == len(names) - 1 else f"{name},"
        if line and len(INDENT) + width_of(line) + 1 + width_of(text) > width:
            yield f"{INDENT}{line}"
            line = ""
        line += f" {text}" if line else text
    yield f"{INDENT}{line}"
