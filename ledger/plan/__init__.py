"""What a run would do and where a tenant stands: pure functions of state and migrations."""

from __future__ import annotations

from ledger.plan.catalogue import Catalogue, others, up_to, without_file
from ledger.plan.pending import Decision, Options, Undo, decide, how_undone
from ledger.plan.rollback import decide_rollback
from ledger.plan.standing import (
    UNDOING,
    State,
    half_text,
    in_middle,
    interrupted,
    standing,
    state_name,
    unfinished,
    unfinished_problem,
    unsettled,
)

__all__ = [
    "UNDOING",
    "Catalogue",
    "Decision",
    "Options",
    "State",
    "Undo",
    "decide",
    "decide_rollback",
    "half_text",
    "how_undone",
    "in_middle",
    "interrupted",
    "others",
    "standing",
    "state_name",
    "unfinished",
    "unfinished_problem",
    "unsettled",
    "up_to",
    "without_file",
]
