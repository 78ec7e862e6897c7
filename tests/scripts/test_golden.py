"""Golden folders: what each kind of file means, and what each mistake is told.

`python -m tests.scripts.test_golden` writes the expected files anew; read the
difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from ledger.dialects.steps import DialectName, Section
from ledger.errors import ScriptError
from ledger.folder import load_set
from ledger.scripts.contents import from_contents
from ledger.scripts.model import Migration
from ledger.scripts.parse import parse_migration
from ledger.scripts.placeholders import bind
from ledger.scripts.source import read_source

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = "expected.json"
VARIABLES = {"prefix": "wp_2_", "charset_collate": "DEFAULT CHARSET utf8mb4", "site": "main"}
DIALECTS: tuple[DialectName, ...] = ("sqlite", "mysql")
SETS = [(dialect, folder.name) for dialect in DIALECTS for folder in (GOLDEN / dialect).iterdir()]
ERRORS = [
    (dialect, path.name)
    for dialect in DIALECTS
    for path in (GOLDEN / "errors" / dialect).glob("*.sql")
]


def _section(section: Section | None) -> Any:
    if section is None:
        return None
    steps = []
    for step in section.steps:
        shown: dict[str, Any] = {"line": step.line, "name": step.name, "sql": step.sql}
        if step.skip_if:
            shown["skip_if"] = [step.skip_if.kind, step.skip_if.subject]
        if step.verify_step:
            shown["verify_step"] = step.verify_step
        shown |= {flag: True for flag in ("redo_safe", "secret") if getattr(step, flag)}
        steps.append(shown)
    return {
        "transaction": section.transaction,
        "foreign_keys": section.foreign_keys,
        "steps": steps,
    }


def _shown(migration: Migration, folder: Path) -> dict[str, Any]:
    wish = {"sync": _section(Section(steps=migration.sync))["steps"]} if migration.sync else {}
    return wish | {
        "version": migration.ref.version,
        "name": migration.ref.name,
        "parts": [part for part, _ in migration.ref.sources],
        "depends": [list(pair) for pair in migration.depends],
        "up": _section(migration.up),
        "down": _section(migration.down),
        "checks": [{"line": c.line, "name": c.name, "sql": c.sql} for c in migration.checks],
        "warnings": [text.removeprefix(f"{folder}/") for text in migration.warnings],
    }


async def _read_set(dialect: DialectName, folder: Path) -> list[dict[str, Any]]:
    one = await load_set(folder, dialect)
    return [_shown(bind(migration, VARIABLES), folder) for migration in one.migrations]


def _read_error(dialect: DialectName, path: Path) -> dict[str, Any]:
    try:
        parse_migration(read_source(path.read_bytes(), file=path.name), dialect, set_name="set")
    except ScriptError as error:
        return {"line": error.line, "message": error.message, "hint": error.hint}
    return {"line": None, "message": "NOT REFUSED", "hint": ""}


def _expected(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes())


@pytest.mark.parametrize(("dialect", "name"), SETS)
async def test_a_set_means_what_its_golden_file_says(dialect: DialectName, name: str) -> None:
    """Sections, steps, names, guards, checks and order are exactly the expected ones."""
    folder = GOLDEN / dialect / name
    assert await _read_set(dialect, folder) == _expected(folder / EXPECTED)


@pytest.mark.parametrize(("dialect", "name"), SETS)
async def test_line_ends_and_bom_change_nothing(
    dialect: DialectName, name: str, tmp_path: Path
) -> None:
    """The same files with CRLF line ends and a BOM mean the same and have the same checksums."""
    folder = GOLDEN / dialect / name
    copy = tmp_path / name
    copy.mkdir()
    for path in folder.glob("*.sql"):
        data = path.read_bytes().replace(b"\n", b"\r\n")
        (copy / path.name).write_bytes(b"\xef\xbb\xbf" + data)
    plain = await load_set(folder, dialect)
    other = await load_set(copy, dialect)
    assert [one.ref for one in other.migrations] == [one.ref for one in plain.migrations]
    assert await _read_set(dialect, copy) == _expected(folder / EXPECTED)


@pytest.mark.parametrize(("dialect", "name"), SETS)
async def test_a_migration_comes_back_from_its_kept_texts(dialect: DialectName, name: str) -> None:
    """Rebuilt from what the ledger keeps, a migration has the same steps and checks."""
    folder = GOLDEN / dialect / name
    for migration in (await load_set(folder, dialect)).migrations:
        again = from_contents(migration.ref, migration.contents, dialect)
        assert again.ref == migration.ref
        assert again.contents == migration.contents
        assert _section(again.up) == _section(migration.up)
        assert _section(again.down) == _section(migration.down)
        assert [one.sql for one in again.sync] == [one.sql for one in migration.sync]
        assert [one.sql for one in again.checks] == [one.sql for one in migration.checks]


@pytest.mark.parametrize(("dialect", "name"), ERRORS)
def test_a_mistake_is_refused_with_its_line(dialect: DialectName, name: str) -> None:
    """Every mistake is a ScriptError with the line, what is wrong and what to do."""
    path = GOLDEN / "errors" / dialect / name
    found = _read_error(dialect, path)
    assert found == _expected(GOLDEN / "errors" / f"{dialect}.json")[name]
    assert found["line"] and found["hint"]


def _write(path: Path, value: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")


if __name__ == "__main__":
    for one, case in SETS:
        _write(GOLDEN / one / case / EXPECTED, anyio.run(_read_set, one, GOLDEN / one / case))
    for one in DIALECTS:
        found = {
            name: _read_error(one, GOLDEN / "errors" / one / name)
            for dialect, name in sorted(ERRORS)
            if dialect == one
        }
        _write(GOLDEN / "errors" / f"{one}.json", found)
