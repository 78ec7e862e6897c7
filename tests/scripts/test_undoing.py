"""Which down steps undo what has landed of a migration."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ledger.dialects.steps import DialectName
from ledger.scripts.model import Migration
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import SourceFile
from ledger.scripts.undoing import SKIPPED, Undecided, sparing, undoing
from ledger.scripts.version import FileName


def chosen(
    up: Sequence[str], down: Sequence[str], ran: set[int], dialect: DialectName = "mysql"
) -> list[str] | None:
    """The down statements that are to run, or None."""
    section = undoing(parsed(up, down, dialect), ran)
    if section is None:
        return None
    assert [step.number for step in section.steps] == list(range(1, len(section.steps) + 1))
    return [step.sql.strip().rstrip(";") for step in section.steps]


def parsed(up: Sequence[str], down: Sequence[str], dialect: DialectName = "mysql") -> Migration:
    """A migration of these statements."""
    text = ";\n".join(up) + ";\n-- migrate:down\n" + ";\n".join(down) + ";\n"
    return parse_migration(
        SourceFile(file="001_m.sql", text=text, checksum="c"),
        dialect,
        set_name="app",
        identity=FileName(version="001", name="m", kind="sql", key=(1,)),
    )


ADD_A = "ALTER TABLE t ADD COLUMN a INT"
DROP_A = "ALTER TABLE t DROP COLUMN a"
ADD_B = "ALTER TABLE `t` ADD b INT AFTER a"
DROP_B = "ALTER TABLE t DROP b"
CREATE = "CREATE TABLE logs (id INT)"
DROP = "DROP TABLE logs"


@pytest.mark.parametrize(
    ("up", "down", "ran", "expected"),
    [
        ([ADD_A, ADD_B], [DROP_B, DROP_A], {1}, [DROP_A]),
        ([ADD_A, ADD_B], [DROP_B, DROP_A], {1, 2}, [DROP_B, DROP_A]),
        ([ADD_A, CREATE], [DROP, DROP_A], {1}, [DROP_A]),
        ([CREATE, "CREATE INDEX i ON logs (id)"], [DROP], {1}, [DROP]),
        ([CREATE, "CREATE INDEX i ON t (a)"], ["DROP INDEX i ON t", DROP], {1}, [DROP]),
        (["INSERT INTO t VALUES (1)", CREATE], [DROP, "DELETE FROM t"], {1}, ["DELETE FROM t"]),
        (["SET @a = 1", ADD_A, CREATE], [DROP, DROP_A], {1}, []),
        (["CREATE VIEW v AS SELECT 1", ADD_A], [DROP_A, "DROP VIEW v"], {1}, ["DROP VIEW v"]),
    ],
)
def test_what_has_landed_is_undone_and_nothing_else(
    up: list[str], down: list[str], ran: set[int], expected: list[str]
) -> None:
    """A table that an up step has not made is not this migration's to drop."""
    assert chosen(up, down, ran) == expected


@pytest.mark.parametrize(
    ("up", "down", "ran"),
    [
        ([ADD_A, ADD_B], ["ALTER TABLE t DROP a, DROP b"], {1}),
        (["CALL fill()", ADD_A], [DROP_A], {1}),
        ([ADD_A, ADD_B], [DROP_B], {1}),
        ([ADD_A, ADD_B], [DROP_A, "CALL clean()"], {1}),
        ([ADD_A, "UPDATE u SET x = 1"], ["DELETE FROM other", DROP_A], {1}),
        ([ADD_A, "CALL fill()"], ["DROP TABLE filled", DROP_A], {1}),
        (["INSERT INTO t VALUES (1)", "UPDATE t SET a = 2"], ["DELETE FROM t"], {1}),
        (["RENAME TABLE a TO b", "RENAME TABLE b TO c"], ["RENAME TABLE c TO a"], {1}),
    ],
)
def test_what_cannot_be_told_is_not_chosen(up: list[str], down: list[str], ran: set[int]) -> None:
    """Both at once, neither, or a statement that may do anything."""
    assert chosen(up, down, ran) is None


INDEX = "CREATE INDEX i ON logs (id)"


@pytest.mark.parametrize(
    ("up", "down", "not_made", "left_out"),
    [
        ([CREATE, ADD_A], [DROP_A, DROP], {1}, {2: 1}),
        ([CREATE, ADD_A], [DROP_A, DROP], set(), {}),
        ([CREATE, ADD_A], ["CALL clean()", DROP], set(), {}),
        ([CREATE, INDEX], ["DROP INDEX i ON logs", DROP], {1}, {2: 1}),
        ([CREATE, INDEX], ["DROP INDEX i ON logs", DROP], {2}, {1: 2}),
        ([CREATE, INDEX], [DROP], {1, 2}, {1: 1}),
        ([CREATE, CREATE], [DROP], {2}, {}),
        ([CREATE, "INSERT INTO logs VALUES (1)"], [DROP], {2}, {}),
        (["DROP TABLE logs", ADD_A], [DROP_A, CREATE], {1}, {2: 1}),
        (["RENAME TABLE a TO b", ADD_A], [DROP_A, "RENAME TABLE b TO a"], {1}, {2: 1}),
        ([CREATE, "CALL fill()"], ["DELETE FROM t", DROP], {1}, {2: 1}),
    ],
)
def test_what_was_not_made_is_not_undone(
    up: list[str], down: list[str], not_made: set[int], left_out: dict[int, int]
) -> None:
    """The guards of the down steps name the up steps; all other down steps stay as they are."""
    section = sparing(parsed(up, down), dict.fromkeys(not_made, SKIPPED))
    assert section is not None and not isinstance(section, Undecided)
    guards = {step.number: step.skip_if.up_step for step in section.steps if step.skip_if}
    assert guards == left_out
    assert len(section.steps) == len(down)


@pytest.mark.parametrize(
    ("up", "down", "not_made", "undecided"),
    [
        ([CREATE, "CREATE TABLE more (id INT)"], ["DROP TABLE logs, more"], {1}, (1, 1)),
        ([CREATE, ADD_A], [DROP_A, "CALL clean()"], {1}, (2, 1)),
        ([CREATE, "INSERT INTO logs VALUES (1)"], [DROP], {1}, (1, 1)),
        ([CREATE, INDEX], [DROP], {1}, (1, 1)),
        ([ADD_A, "CALL fill()"], [DROP_A, "DELETE FROM t"], {2}, (2, 2)),
        ([CREATE, "RENAME TABLE logs TO old"], ["RENAME TABLE old TO logs", DROP], {1}, (1, 1)),
    ],
)
def test_what_may_undo_more_than_was_made_is_not_decided(
    up: list[str], down: list[str], not_made: set[int], undecided: tuple[int, int]
) -> None:
    """Both at once, a statement that may do anything, or what was to go with a table that stays."""
    found = sparing(parsed(up, down), dict.fromkeys(not_made, SKIPPED))
    assert isinstance(found, Undecided)
    assert (found.step.number, found.up.number) == undecided
