"""What a reset would do, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TextIO

import msgspec

from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import one_line, write_lines
from ledger.reset.tenant import Resetting

_COLUMNS: Final = (
    Column("tenant", "Tenant"),
    Column("engine", "Engine"),
    Column("was", "Applied now"),
    Column("applied", "Applied then"),
    Column("drops", "Drops"),
    Column("left", "Stays"),
    Column("problem", "Problem"),
    Column("hint", "Hint"),
)


def write_resets(plans: Sequence[Resetting], *, form: Format, out: TextIO) -> None:
    """A block of lines a tenant; JSON, JSON Lines and CSV have a row each."""
    rows = [msgspec.structs.asdict(plan) for plan in plans]
    if form == "json":
        write_json(rows, out=out)
    elif form != "table":
        write_rows(rows, _COLUMNS, form=form, out=out)
    else:
        for plan in plans:
            write_lines(_lines(plan), out=out)


def _lines(plan: Resetting) -> Iterator[str]:
    yield f"{one_line(plan.tenant)}: {_list(plan.was)} applied now, {_list(plan.applied)} then"
    for name in plan.drops:
        yield f"  - {one_line(name)}"
    for text in plan.left:
        yield f"  stays: {one_line(text)}"
    if plan.problem:
        yield f"  refused: {one_line(plan.problem)}"
    if plan.hint:
        yield f"  hint: {one_line(plan.hint)}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
