"""A statement that failed and left rows in a table without transactions: nobody writes them twice unasked."""

from __future__ import annotations

import pytest

from tests.place import WITH_MYSQL, MakePlace

ALONE = "INSERT INTO old VALUES (1, NULL), (2, 2), (3, {third});\n"
TOGETHER = (
    "BEGIN;\nINSERT INTO old VALUES (1, NULL);\nINSERT INTO mine VALUES (2), ({third});\nCOMMIT;\n"
)


@pytest.mark.parametrize("engine", WITH_MYSQL[1:])
@pytest.mark.parametrize(
    ("text", "rows"),
    [(ALONE, [(1, None), (2, 2), (3, 3)]), (TOGETHER, [(1, None)])],
    ids=["alone", "in a transaction"],
)
def test_rows_that_stay_of_a_failed_statement_wait_for_a_word(
    make_place: MakePlace, engine: str, text: str, rows: list[tuple[object, ...]]
) -> None:
    """Tenant, table and the next command are named; a corrected file runs once that command was typed."""
    place = make_place(engine)
    first, _ = place.names
    place.run(first, "CREATE TABLE old (n INT, k INT UNIQUE) ENGINE=MyISAM")
    file = place.migration("001_old.sql", text.format(third=2))
    for _ in range(2):
        ended = place.ended("migrate", "--tenant", first)
        assert ended.code == 3
        assert f"ledger resolve {first} --" in ended.out
        assert first in ended.out
        assert (1, None) in place.run(first, "SELECT * FROM old")
        left = place.run(first, "SELECT * FROM old")
        file.write_text(text.format(third=3))
    assert place.run(first, "SELECT * FROM old") == left
    (failed, *_) = place.events(first, "failed")
    assert (failed["body"]["error"], failed["body"]["evidence"]["table"]) == ("in_doubt", "old")
    place.run(first, "DELETE FROM old")
    place.ok("resolve", first, "--not-applied", "--reason", "deleted", "-y")
    place.ok("migrate", "--tenant", first)
    assert place.run(first, "SELECT * FROM old ORDER BY n") == rows
