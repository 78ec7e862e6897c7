"""The fault table, made from the tests: python -m tests.faults.table > docs/faults.md

A test says by `@pytest.mark.fault(3)` which row it provokes; tests of other suites are named
in rows.py. A row without a test, or a test that is not there, is an error.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.faults.rows import ROWS, Row

ROOT = Path(__file__).resolve().parents[2]
DATABASES = {"sqlite": "SQLite", "mariadb": "MariaDB", "mysql": "MySQL"}


class Found:
    """What pytest collects: a test's name -> the databases it runs on; a row -> its tests."""

    def __init__(self) -> None:
        self.tests: dict[str, set[str]] = defaultdict(set)
        self.rows: dict[object, dict[str, None]] = defaultdict(dict)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Called by pytest with everything that it has collected."""
        for item in items:
            path = item.path.relative_to(ROOT).as_posix()
            name = f"{path}::{getattr(item, 'originalname', item.name)}"
            self.tests[name] |= _databases(item, path)
            for mark in item.iter_markers("fault"):
                for row in mark.args:
                    self.rows[row][name] = None


def _databases(item: pytest.Item, path: str) -> set[str]:
    spec = getattr(item, "callspec", None)
    words = {str(value) for value in spec.params.values()} if spec is not None else set()
    found = {shown for word, shown in DATABASES.items() if word in words}
    if found:
        return found
    fixtures = set(getattr(item, "fixturenames", ()))
    source = inspect.getsource(item.function) if isinstance(item, pytest.Function) else ""
    found = {shown for word, shown in DATABASES.items() if f'make_world("{word}"' in source}
    if fixtures & {"own_mariadb", "private_mariadb", "mariadb"}:
        found.add("MariaDB")
    if not found and "sqlite" in path.lower() + source.lower():
        found.add("SQLite")
    return found


def collect() -> Found:
    """The tests that any row may name, without running any."""
    found = Found()
    files = {test.partition("::")[0] for row in ROWS for test in row.elsewhere}
    places = [str(ROOT / place) for place in ("tests/faults", *sorted(files))]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main(
            [
                "--collect-only",
                "-q",
                "-p",
                "no:cacheprovider",
                *places,
            ],
            plugins=[found],
        )
    if code != 0:
        raise SystemExit(said.getvalue()[-2000:])
    return found


def lines(found: Found) -> list[str]:
    """The table in Markdown. Raises SystemExit for a row that nothing proves."""
    out = [
        "<!-- made by: python -m tests.faults.table -->",
        "| # | fault | what comes of it | databases | proved by |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in ROWS:
        out.append(_line(row, found))
    return out


def _line(row: Row, found: Found) -> str:
    tests = [*found.rows[row.number], *row.elsewhere]
    missing = [test for test in tests if test not in found.tests]
    if missing:
        raise SystemExit(f"row {row.number}: there is no test {', '.join(missing)}")
    if not tests:
        raise SystemExit(f"row {row.number} ({row.fault}): no test provokes it")
    databases = sorted({one for test in tests for one in found.tests[test]})
    shown = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in dict.fromkeys(tests))
    return f"| {row.number} | {row.fault} | {row.expected} | {', '.join(databases)} | {shown} |"


def main() -> int:
    """Write the table to stdout."""
    sys.stdout.write("\n".join(lines(collect())) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
