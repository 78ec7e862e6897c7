"""A table that another migration tool keeps for a tenant: where it is, and the queries that read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ledger.drivers.url import Url


class ForeignTable(msgspec.Struct, frozen=True, kw_only=True):
    """`url` is where the queries run, `shown` how people call the table, `name` how a query does.

    `columns` is the query for its columns' names: no row for a table that is not there.
    `reachable` is False where its file is not there. `quote` quotes a column.
    """

    url: Url
    shown: str
    name: str
    columns: str
    quote: Callable[[str], str]
    reachable: bool = True

    def rows(self, columns: Sequence[str], order: str) -> str:
        """The query for these columns of all rows, in the order of one of them."""
        listed = ", ".join(map(self.quote, columns))
        sql = f"SELECT {listed} FROM {self.name}"  # noqa: S608 - both are quoted
        return f"{sql} ORDER BY {self.quote(order)}" if order else sql


def literal(text: str) -> str:
    """A string literal; a backslash, doubled, can only make a name unknown."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
