"""What a reset would do, for a person and for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TextIO

import msgspec

from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import one_line
from ledger.runner.reset import Resetting

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
    rows = [
        {
            column.key: [] if column.key in ("was", "applied", "drops", "left") else ""
            for column in _COLUMNS
        }
        | msgspec.to_builtins(plan)
        for plan in plans
    ]
    if form == "json":
        write_json(rows, out=out)
    elif form != "table":
        write_rows(rows, _COLUMNS, form=form, out=out)
    else:
        for plan in plans:
            _write(plan, out)


def _write(plan: Resetting, out: TextIO) -> None:
    out.write(
        f"{one_line(plan.tenant)}: {_list(plan.was)} applied now, {_list(plan.applied)} then\n"
    )
    for name in plan.drops:
        out.write(f"  - {one_line(name)}\n")
    for text in plan.left:
        out.write(f"  stays: {one_line(text)}\n")
    if plan.problem:
        out.write(f"  refused: {one_line(plan.problem)}\n")
    if plan.hint:
        out.write(f"  hint: {one_line(plan.hint)}\n")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
