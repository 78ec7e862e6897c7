"""Tables of any length: written as they come, in the room of their first page."""

from __future__ import annotations

import io

import pytest

from ledger.render.columns import Column
from ledger.render.rows import PAGE_ROWS, RowWriter

COLUMNS = (Column("seq", "Seq", number=True), Column("tenant", "Tenant"), Column("run", "Run"))


class Screen(io.StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Screen()], ids=["file", "terminal"])
def test_a_table_is_written_as_its_rows_come(out: io.StringIO) -> None:
    """Nothing is lost of a later row: neither a wider cell nor one in a column that was empty before."""
    with RowWriter(COLUMNS, form="table", out=out) as writer:
        for seq in range(PAGE_ROWS):
            writer.row({"seq": seq, "tenant": "acme"})
        assert not out.getvalue()
        writer.row({"seq": PAGE_ROWS, "tenant": "acme"})
        began = len(out.getvalue().splitlines())
        assert began >= PAGE_ROWS
        for seq in range(PAGE_ROWS + 1, 3 * PAGE_ROWS):
            wide = seq == 2 * PAGE_ROWS
            writer.row(
                {"seq": seq, "tenant": "a" * 30 if wide else "acme", "run": "r" if wide else ""}
            )
            assert len(writer._kept) <= PAGE_ROWS
    lines = out.getvalue().splitlines()
    body = lines[-3 * PAGE_ROWS :]
    assert [line.split() for line in body[:2]] == [["0", "acme"], ["1", "acme"]]
    assert body[2 * PAGE_ROWS].split() == [str(2 * PAGE_ROWS), "a" * 30, "r"]
    assert body[-1].split() == [str(3 * PAGE_ROWS - 1), "acme"]
