"""Folders of migrations: sets, sidecars, version.json, Python, and the next file."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import ConfigError, LedgerError, ScriptError, UsageError
from ledger.folder import find_sets, load_set, load_sets, write_new
from ledger.scripts.contents import from_contents
from ledger.scripts.model import MigrationSet
from ledger.scripts.placeholders import bind

NOW = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)


def _write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


async def _load(folder: Path, said: Any = None, *, allow_python: bool = False) -> MigrationSet:
    if said is not None:
        (folder / "version.json").write_text(json.dumps(said))
    return await load_set(folder, "mysql", allow_python=allow_python)


async def _refused(folder: Path, said: Any = None, *, allow_python: bool = False) -> LedgerError:
    with pytest.raises((ScriptError, ConfigError)) as caught:
        await _load(folder, said, allow_python=allow_python)
    assert caught.value.hint
    return caught.value


async def test_a_folder_is_a_set_and_a_folder_of_folders_one_each(tmp_path: Path) -> None:
    """Names come from folders; notes and hidden folders are no sets."""
    _write(
        tmp_path,
        {
            "a/001_x.sql": "SELECT 1",
            "b/1.0.0_y.sql": "SELECT 1",
            "docs/README.md": "",
            ".git/x.sql": "",
        },
    )
    found = await load_sets(tmp_path, "mysql")
    assert {name: each.dialect for name, each in found.items()} == {"a": "mysql", "b": "mysql"}
    assert list(await find_sets(tmp_path / "a")) == ["a"]
    assert found["a"].migrations[0].id == "a/001"


async def test_a_missing_folder_is_told_what_to_type(tmp_path: Path) -> None:
    """The error names the folder and a command that makes it."""
    with pytest.raises(ConfigError) as caught:
        await load_sets(tmp_path / "none", "sqlite")
    assert f"mkdir -p {tmp_path / 'none'}" in caught.value.hint


async def test_an_empty_folder_is_an_empty_set_with_a_warning(tmp_path: Path) -> None:
    """It is no error: `ledger init` makes one."""
    found = await _load(tmp_path)
    assert found.migrations == ()
    assert found.warnings == (f"{tmp_path}: there is no migration here",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"initial.sql": ""}, "'initial.sql' is not the name"),
        ({"001_X.SQL": ""}, "'001_X.SQL' is not the name"),
        ({"001_a.sql": "", "1_b.sql": ""}, "have one version"),
        ({"001_a.sql": "", "002_b.down.sql": ""}, "there is no 002_b.sql"),
        ({"001_a.sql": "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2", "001_a.down.sql": "SELECT 1"}, "is in"),
        ({"001_a.sql": "SELECT 1", "001_a.verify.sql": "-- migrate:up\nSELECT 1"}, "holds the section verify only"),
        ({"001_a.py": "async def up(tenant): ..."}, "Python migration"),
    ],
)  # fmt: skip
async def test_files_that_cannot_be_meant_are_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    """Nothing that looks like a migration is passed over."""
    assert message in (await _refused(_write(tmp_path, files))).message


async def test_all_versions_that_are_there_twice_are_told_at_once(tmp_path: Path) -> None:
    """Each with the one before it."""
    names = ("001_a.sql", "1_b.sql", "2_c.sql", "02_d.sql", "3_e.sql")
    error = await _refused(_write(tmp_path, dict.fromkeys(names, "SELECT 1")))
    assert all(name in error.message for name in names[:4]) and "3_e" not in error.message


async def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A pipe has no end and a link in a circle no file: both are named."""
    os.mkfifo(tmp_path / "001_x.sql")
    error = await _refused(tmp_path)
    assert "not a regular file" in str(error) and "001_x.sql" in str(error)
    (tmp_path / "001_x.sql").unlink()
    (tmp_path / "001_x.sql").symlink_to("001_x.sql")
    error = await _refused(tmp_path)
    assert "001_x.sql" in str(error)


async def test_folders_beside_migrations_are_told_of(tmp_path: Path) -> None:
    """Files above make the folder one set: nothing that looks like a set is passed over in silence."""
    _write(tmp_path, {"001_x.sql": "SELECT 1", "billing/001_y.sql": "SELECT 1", "notes/x.md": ""})
    _write(tmp_path, {"undo/001.sql": "SELECT 2"})
    found = await _load(tmp_path, {"migrations": {"001": {"rollback_file": "undo/001.sql"}}})
    assert [one.ref.version for one in found.migrations] == ["001"]
    assert [text for text in found.warnings if "ignored" in text] == [
        f"{tmp_path / 'billing'}: ignored, since {tmp_path} is one set, with files of its own"
    ]


async def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """Neither a file nor a set may be a link to somewhere else; a link inside is fine."""
    _write(tmp_path, {"outside/001_x.sql": "SELECT 1", "sets/a/001_x.sql": "SELECT 1"})
    (tmp_path / "sets/a/002_y.sql").symlink_to(tmp_path / "outside/001_x.sql")
    assert "leads out" in (await _refused(tmp_path / "sets/a")).message
    (tmp_path / "sets/a/002_y.sql").unlink()
    (tmp_path / "sets/a/002_y.sql").symlink_to("001_x.sql")
    assert len((await _load(tmp_path / "sets/a")).migrations) == 2
    (tmp_path / "sets/b").symlink_to(tmp_path / "outside")
    with pytest.raises(ScriptError, match="leads out"):
        await load_sets(tmp_path / "sets", "sqlite")


WOO = {
    "current_version": "0",
    "target_version": "1",
    "auto_migrate_on_activation": True,
    "migration_timeout_seconds": 300,
    "backup_before_migration": True,
    "migrations": {
        "001": {
            "version": "1",
            "name": "initial_schema",
            "description": "The first tables",
            "file": "001_initial_schema.sql",
            "applied": True,
            "applied_at": "2025-08-30",
            "estimated_time_seconds": 30,
            "requires_backup": False,
            "tables_created": ["a", "b"],
            "views_created": ["v"],
            "rollback_file": "rollback_001.sql",
        },
        "002": {"dependencies": ["001", "billing/2"], "desciption": "typo"},
    },
}
FILES = {
    "001_initial_schema.sql": "CREATE TABLE {prefix}a (id INT);",
    "rollback_001.sql": "DROP TABLE {prefix}a;",
    "002_more.sql": "SELECT 1;",
}


@pytest.mark.parametrize("shape", ["nested", "flat", "list", "settings"])
async def test_version_json_is_read_in_every_shape(tmp_path: Path, shape: str) -> None:
    """Versions at the top, under `migrations` by version or as a list, settings nested or not."""
    said: dict[str, Any] = dict(WOO)
    migrations: dict[str, dict[str, Any]] = WOO["migrations"]  # type: ignore[assignment]
    if shape == "flat":
        del said["migrations"]
        said |= migrations
    elif shape == "list":
        said["migrations"] = [{**entry, "version": key} for key, entry in migrations.items()]
    elif shape == "settings":
        said = {
            "settings": {k: v for k, v in WOO.items() if k != "migrations"},
            "migrations": migrations,
        }
    found = await _load(_write(tmp_path, FILES), said)
    first, second = found.migrations
    assert (found.target, found.auto_migrate) == ("001", True)
    assert first.manifest.description == "The first tables"
    assert first.manifest.requires_backup is False and second.manifest.requires_backup is True
    assert first.manifest.timeout_seconds == 300
    assert first.manifest.tables_created == ("a", "b")
    assert first.down is not None and first.down.steps[0].name == "DROP TABLE {prefix}a"
    assert second.depends == ((found.name, "001"), ("billing", "2"))
    text = "\n".join(found.warnings)
    assert "'applied' is ignored" in text and "'applied_at' is ignored" in text
    assert "unknown key 'desciption' is ignored; did you mean 'description'?" in text
    again = from_contents(first.ref, first.contents, "mysql")
    assert (again.manifest, again.down) == (first.manifest, again.down)
    assert from_contents(second.ref, second.contents, "mysql").depends == second.depends


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "not a JSON object"),
        ({"001": {"dependencies": "002"}}, "Expected `array`"),
        ({"001": {"version": "2"}}, "says that its version is '2'"),
        ({"003": {}}, "names version 3, and there is no file"),
        ({"001": {"file": "001_other.sql"}}, "says that the file is '001_other.sql'"),
        ({"001": {"rollback_file": "../../etc/passwd"}}, "is not a file in this folder"),
        ({"001": {"dependencies": ["009"]}}, "has no version 009"),
        ({"target_version": "7"}, "no migration has it"),
        ({"migrations": 3}, "neither an object"),
        ({"002": {"checksum": "0" * 32}}, "the checksum in"),
        ({"001": {"checksum": "abc"}}, "the checksum in"),
        ({"001": {"description": "x" * 1_100_000}}, "bytes"),
    ],
)
async def test_a_wrong_version_json_is_refused(tmp_path: Path, said: Any, message: str) -> None:
    """Types, versions, files, checksums and size are held to."""
    files = {name: text for name, text in FILES.items() if not name.startswith("rollback")}
    assert message in (await _refused(_write(tmp_path, files), said)).message


async def test_an_md5_over_the_bound_text_is_held_to_when_binding(tmp_path: Path) -> None:
    """The documents took MD5 after the placeholders: right for its prefix, refused for another."""
    _write(tmp_path, FILES)
    digest = hashlib.md5(b"CREATE TABLE wp_a (id INT);").hexdigest()
    found = await _load(
        tmp_path, {"001": {"checksum": digest, "rollback_file": "rollback_001.sql"}}
    )
    bound = bind(found.migrations[0], {"prefix": "wp_"})
    assert bound.up.steps[0].sql == "CREATE TABLE wp_a (id INT)"
    with pytest.raises(ScriptError, match=digest):
        bind(found.migrations[0], {"prefix": "other_"})


async def test_python_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    """Its functions, constants and text are taken; the text alone does not bring the functions back."""
    text = (
        'version = "2"\ndepends = ["001"]\ndescription = "Fill"\n'
        "async def up(tenant):\n    await tenant.execute('SELECT 1')\n"
        "async def down(tenant): ...\n"
    )
    _write(tmp_path, {"001_a.sql": "SELECT 1", "002_fill.py": text, "helper.py": "1/0"})
    assert "allow_python = true" in (await _refused(tmp_path)).hint
    found = await _load(tmp_path, allow_python=True)
    fill = found.migrations[1]
    assert fill.python is not None and fill.python.down is not None and fill.python.verify is None
    assert (fill.depends, fill.manifest.description) == (((found.name, "001"),), "Fill")
    assert fill.ref.checksum == hashlib.sha256(text.encode()).hexdigest()
    assert not (tmp_path / "__pycache__").exists()
    again = from_contents(fill.ref, fill.contents, "mysql")
    assert again.python is None and again.path.endswith(".py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no `async def up(tenant)`"),
        ("def up(tenant): ...", "`up` is not an async function"),
        ("async def up(tenant): ...\ndown = 1", "`down` is not an async function"),
        ("1/0", "fails when it is loaded: ZeroDivisionError"),
        ("def (", "SyntaxError"),
        ("version = '3'\nasync def up(tenant): ...", "says version = '3'"),
        ("async def up(tenant): ...\nasync def donw(tenant): ...", "nearly 'down'"),
        ("async def up(tenant): ...\nasync def verfiy(tenant): ...", "nearly 'verify'"),
        ("depend = ['001']\nasync def up(tenant): ...", "nearly 'depends'"),
        ("foreign_key = False\nasync def up(tenant): ...", "nearly 'foreign_keys'"),
        ("descripton: str = 'x'\nasync def up(tenant): ...", "nearly 'description'"),
        ("depends = 3\nasync def up(tenant): ...", "`depends` is not a list"),
    ],
)
async def test_a_wrong_python_migration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """What a module lacks is said before anything runs."""
    _write(tmp_path, {"001_a.py": text})
    assert message in (await _refused(tmp_path, allow_python=True)).message


async def test_other_names_of_a_python_migration_are_its_own(tmp_path: Path) -> None:
    """Helpers, lists of versions, and functions that are called otherwise."""
    text = (
        "versions = [1]\ndeps = 3\nkeys, rows = 1, 2\nasync def apply(tenant): ...\n"
        "def own(): ...\nasync def download(tenant): ...\nasync def up(tenant): ...\n"
    )
    _write(tmp_path, {"001_a.py": text})
    assert len((await _load(tmp_path, allow_python=True)).migrations) == 1


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], "001_add_tags.sql"),
        (["009_a.sql"], "010_add_tags.sql"),
        (["1_a.sql", "2_b.sql"], "3_add_tags.sql"),
        (["1.0.0_a.sql", "2.3.1_b.sql"], "2.4.0_add_tags.sql"),
        (["20240101000000_a.sql"], "20261122010203_add_tags.sql"),
    ],
)
async def test_the_next_file_follows_the_sets_manner(
    tmp_path: Path, there: list[str], expected: str
) -> None:
    """Numbered, dotted or by time; the new file has all sections and can be loaded."""
    folder = tmp_path / "set"
    _write(folder, dict.fromkeys(there, "SELECT 1"))
    path = await write_new(folder, "Add tags", dialect="sqlite", now=NOW)
    assert path == folder / expected
    newest = (await load_set(folder, "sqlite")).migrations[-1]
    assert (newest.path, newest.up.steps, newest.down is not None) == (str(path), (), True)
    assert newest.warnings == (f"{path}: the migration has no step",)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        await write_new(folder, "other", dialect="sqlite", now=NOW, version=newest.ref.version)
    assert path.read_bytes() == before


async def test_a_new_file_needs_a_name_and_a_version(tmp_path: Path) -> None:
    """What cannot become a file's name is refused with what to type."""
    for name, version in (("…", None), ("x", "v1")):
        with pytest.raises(UsageError) as caught:
            await write_new(tmp_path, name, dialect="sqlite", now=NOW, version=version)
        assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


async def test_a_name_before_a_pragma_may_be_said_again_after_it(tmp_path: Path) -> None:
    """What a SQLite section leaves out takes no directive away, and is no statement of its own."""
    text = "-- step: Off\nPRAGMA foreign_keys = OFF;\n-- step: Make t\nCREATE TABLE t (x);\n"
    _write(tmp_path, {"001_x.sql": text})
    found = await load_set(tmp_path, "sqlite")
    assert found.migrations[0].up.steps[-1].name == "Make t"


async def test_a_python_file_that_exits_is_refused(tmp_path: Path) -> None:
    """It does not take the command with it."""
    _write(tmp_path, {"001_x.py": "import sys\nsys.exit(5)\n"})
    error = await _refused(tmp_path, allow_python=True)
    assert "SystemExit: 5" in str(error)
