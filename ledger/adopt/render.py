"""What an import would count as applied, a row a tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TextIO

import msgspec

from ledger.adopt.tenant import Importing
from ledger.render.columns import Column
from ledger.render.rows import Format, write_rows

CHECK_FOUND: Final = 4

_COLUMNS: Final = (
    Column("tenant", "Tenant"),
    Column("source", "History"),
    Column("migrations", "Counts as applied"),
    Column("known", "Counted already"),
    Column("notes", "Notes"),
    Column("problem", "Refused"),
    Column("hint", "Hint"),
)


def write_plans(plans: Sequence[Importing], *, form: Format, out: TextIO) -> int:
    """The exit code: 4 if a tenant would be refused, else 0."""
    rows = map(msgspec.structs.asdict, plans)
    write_rows(rows, _COLUMNS, form=form, out=out, empty="No tenants.")
    return CHECK_FOUND if any(plan.problem for plan in plans) else 0
