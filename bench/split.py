"""Splitting scripts into statements: MB/s for both dialects, and whether it stays linear.

python -m bench.split
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.children import Reading
from bench.measure import Side, alternate, median, spread
from bench.options import Options
from bench.report import Report, Table, TargetRow, main
from ledger.dialects.mysql.split import split_mysql
from ledger.dialects.sqlite.split import split_sqlite

SIZES_MB = (1, 2, 4, 8)
LIMITS = {"sqlite": 20.0, "mysql": 3.0}
LINEAR = 0.8
"""The rate at the largest size may not fall below this share of the rate at the smallest."""

_COMMON = """-- step {i}: what a migration folder or a dump is made of
CREATE TABLE t{i} (
  id INTEGER PRIMARY KEY,
  name VARCHAR(100) NOT NULL DEFAULT 'it''s; fine', -- a comment; with a semicolon
  created_at VARCHAR(40) NOT NULL
);
CREATE INDEX idx_{i} ON t{i} (name, created_at);
/* a longer comment; 'with' "quotes" */
INSERT INTO t{i} (id, name, created_at) VALUES (1, 'a;b', '2026-01-01'), (2, 'c', '2026-01-02');
INSERT INTO t{i} (id, name, created_at) VALUES (3, '{{"json": "x;y"}}', '2026-01-03');
"""
_SQLITE = """CREATE TRIGGER tr{i} AFTER INSERT ON t{i} BEGIN
  UPDATE t{i} SET name = CASE WHEN new.id > 1 THEN 'x' ELSE 'y' END WHERE id = new.id;
END;
"""
_MYSQL = """DELIMITER $$
CREATE PROCEDURE p{i}()
BEGIN
  SELECT 1; -- inside
  SELECT 'it\\'s';
END$$
DELIMITER ;
"""


def text_of(dialect: str, megabytes: float) -> str:
    """A script of about that size."""
    block = _COMMON + (_SQLITE if dialect == "sqlite" else _MYSQL)
    made: list[str] = []
    size = 0
    while size < megabytes * 1e6:
        made.append(block.format(i=len(made)))
        size += len(made[-1])
    return "".join(made)


def side(split: Callable[..., object], text: str) -> Side:
    """Split in this process."""

    def go() -> Reading:
        began = time.perf_counter()
        split(text, file="bench.sql")
        return Reading(seconds=(time.perf_counter() - began) / (len(text) / 1e6))

    return go


def run(options: Options) -> Report:
    """Both dialects at all sizes; readings are seconds per MB."""
    factor = 0.05 if options.size == "quick" else 1.0
    rows = []
    targets = []
    for dialect in options.engines:
        split = split_sqlite if dialect == "sqlite" else split_mysql
        sides = {
            f"{size * factor:g} MB": side(split, text_of(dialect, size * factor))
            for size in SIZES_MB
        }
        readings = alternate(sides, options.rounds())
        rates = [1 / median(one) for one in readings.values()]
        rows += [
            (f"{dialect}, {name}", f"{rate:.1f}", spread(readings[name], 1000))
            for name, rate in zip(readings, rates, strict=True)
        ]
        linear = rates[-1] / rates[0]
        limit = LIMITS[dialect]
        targets.append(
            TargetRow(
                key=f"split-{dialect}",
                what=f"splitting, {dialect}",
                target=f"linear; ≥ {limit:g} MB/s",
                measured=f"{min(rates):.1f} MB/s; at the largest {linear:.2f} x the smallest's rate",
                met=min(rates) >= limit and linear >= LINEAR,
                value=min(rates),
            )
        )
    table = Table(
        title="Splitting",
        columns=("script", "MB/s", "ms per MB (low-high)"),
        rows=tuple(rows),
    )
    return Report(script="split", tables=(table,), targets=tuple(targets))


if __name__ == "__main__":
    main("split", __doc__, run)
