"""How many rows an INSERT found there that it was to make, by what the server counts."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.dialects.given import Given, given
from ledger.dialects.kinds import StatementKind
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.steps import Step
from ledger.drivers.mysql import MysqlConnection, ServerWarning, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.measured import COUNT, COUNTED_MAX
from ledger.engines.mysql.trouble import DUPLICATE_KEY


class Counted:
    """One INSERT, counted before and after where what the server says of it does not show what it found."""

    def __init__(self, connection: MysqlConnection, table: str, how: Given) -> None:
        self._connection = connection
        self._how = how
        self._table = ".".join(quote_identifier(part) for part in table.split(".", 1))
        self._before: int | None = None

    async def begin(self) -> None:
        """Before the statement."""
        if self._how.meets == "updates" and self._how.rows != 1:
            self._before = await self._count()

    async def found(self, changed: int, warnings: Sequence[ServerWarning]) -> int | None:
        """After the statement, which changed so many rows: how many it found, at least; None for none."""
        meets, rows = self._how
        if meets == "keeps":
            there = sum(one.code == DUPLICATE_KEY for one in warnings)
            return max(there, (rows or changed) - changed) or None
        if meets == "replaces":
            # Each row that gave way counts too.
            return max(0, changed - (rows or changed)) or None
        if rows == 1:
            return int(changed != 1) or None
        after = None if self._before is None else await self._count()
        if after is None or self._before is None:
            return int(rows is not None and rows != changed) or None
        made = after - self._before
        return max(0, (changed if rows is None else rows) - made, int(changed > made)) or None

    async def _count(self) -> int | None:
        sql = COUNT.format(table=self._table)
        try:
            count = int((await self._connection.fetch(sql))[0][0])
        except QueryError:
            return None
        return count if count <= COUNTED_MAX else None


def counting(connection: MysqlConnection, step: Step, kind: StatementKind) -> Counted | None:
    """None for what is no INSERT, or one that fails where it meets a row."""
    how = given(step.readable, SYNTAX) if kind.kind == "dml" else None
    return Counted(connection, kind.target, how) if how is not None else None
