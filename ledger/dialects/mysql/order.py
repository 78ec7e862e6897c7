"""The order in which the tables of a section sync can be created."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.steps import Step


def in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The statements with each table behind those of the section that its foreign keys refer to.

    A dump lists tables by name, and turns the check of foreign keys off for that. Where there is
    nothing to change, and where tables refer to each other in a circle, the order is the file's.
    """
    makers = {name: step for step in steps if (name := _made_table(step)) is not None}
    ordered: dict[int, Step] = {}
    open_: set[int] = set()

    def add(step: Step) -> None:
        if step.number in ordered or step.number in open_:
            return
        open_.add(step.number)
        if _made_table(step) is not None:
            for name in _referred(step):
                if name in makers:
                    add(makers[name])
        ordered[step.number] = step

    for step in steps:
        add(step)
    return tuple(
        step if step.number == number else msgspec.structs.replace(step, number=number)
        for number, step in enumerate(ordered.values(), 1)
    )


def _made_table(step: Step) -> str | None:
    cursor = SYNTAX.cursor(step.readable)
    if not cursor.take("CREATE", "TABLE"):
        return None
    cursor.guard()
    return cursor.name().lower()


def _referred(step: Step) -> list[str]:
    cursor = SYNTAX.cursor(step.readable)
    found = []
    while not cursor.at_end:
        if cursor.next().upper == "REFERENCES":
            found.append(cursor.name().lower())
    return found
