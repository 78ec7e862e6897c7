"""How many rows an INSERT gives, and what it does where one of them is there already."""

from __future__ import annotations

import pytest

from ledger.dialects import dialect_of
from ledger.dialects.given import Given, given
from ledger.dialects.steps import DialectName

LONG = "INSERT IGNORE INTO t VALUES " + ", ".join(f"({n}, '(text, {n}')" for n in range(3_000))


@pytest.mark.parametrize("dialect", ["sqlite", "mysql"])
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT IGNORE INTO t (a, b) VALUES (1, (2)), (3, 'x), (')", Given("keeps", 2)),
        ("INSERT OR IGNORE INTO t VALUES (1)", Given("keeps", 1)),
        ("INSERT INTO t VALUES (1), (2) ON CONFLICT (a) DO NOTHING", Given("keeps", 2)),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 2", Given("updates", 1)),
        ("INSERT INTO t VALUES (1), (2) ON DUPLICATE KEY UPDATE a = (3)", Given("updates", 2)),
        ("INSERT INTO t VALUES (1) AS n (a) ON DUPLICATE KEY UPDATE a = 1", Given("updates", 1)),
        ("REPLACE t SET a = 1", Given("replaces", 1)),
        ("INSERT OR REPLACE INTO t VALUES (1), (2)", Given("replaces", 2)),
        ("INSERT INTO t SELECT 'x' WHERE NOT EXISTS (SELECT 1 FROM t)", Given("keeps", 1)),
        (
            "INSERT INTO t SELECT * FROM (SELECT 'x') AS n WHERE NOT EXISTS (SELECT 1 FROM t)",
            Given("keeps", 1),
        ),
        ("INSERT INTO t SELECT a FROM u WHERE NOT EXISTS (SELECT 1)", Given("keeps", None)),
        ("WITH w AS (SELECT 1) REPLACE INTO t SELECT * FROM w", Given("replaces", None)),
        (LONG, Given("keeps", 3_000)),
        ("INSERT INTO t VALUES ('IGNORE', 'ON CONFLICT')", None),
        ("INSERT INTO t SELECT replace(a, 'b', 'c') FROM u", None),
        ("DELETE FROM t WHERE NOT EXISTS (SELECT 1)", None),
        (LONG.replace(" IGNORE", ""), None),
    ],
)
def test_rows_that_are_there(dialect: DialectName, sql: str, expected: Given | None) -> None:
    """None for a statement that fails there, and for others; no number where the text shows none."""
    assert given(sql, dialect_of(dialect).syntax) == expected
