"""Folders and files of the reverse direction, as other tools name them, are no migrations."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.errors import ScriptError
from ledger.folder import find_sets, load_sets
from ledger.scripts.directions import right_name

UP = "CREATE TABLE users (id INT);"
DOWN = "DROP TABLE users;"


def _write(folder: Path, *files: str) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(UP)
    return folder


async def _refused(folder: Path) -> ScriptError:
    with pytest.raises(ScriptError) as caught:
        await load_sets(folder, "sqlite")
    assert caught.value.hint and caught.value.file
    return caught.value


@pytest.mark.parametrize(
    ("forward", "reverse"),
    [
        ("up", "down"), ("Up", "Down"), ("ups", "downs"), ("do", "undo"), ("deploy", "revert"),
        ("migrate", "rollback"), ("migrations", "rollbacks"), ("forward", "backward"),
        ("forwards", "backwards"), ("forward", "reverse"), ("apply", "revert"), ("apply", "rollback"),
        ("upgrade", "downgrade"), ("install", "uninstall"), ("create", "drop"), ("setup", "teardown"),
        ("schema", "rollback"), ("sql", "roll_back"), ("scripts", "rollback_scripts"), ("sql-up", "sql-down"),
        ("migrations", "migrations_down"), ("upMigrations", "downMigrations"), ("01_up", "02_down"),
        ("users_up", "users_down"), ("app", "undo"), ("add", "remove"), ("deploy", "verify"),
    ],
)  # fmt: skip
async def test_a_folder_of_the_reverse_direction_is_no_set(
    forward: str, reverse: str, tmp_path: Path
) -> None:
    """Found by searching, or named beside its partner: it is named, with a command that moves a file."""
    _write(tmp_path, f"m/{forward}/001_users.sql", f"m/{reverse}/001_users.sql")
    error = await _refused(tmp_path / "m")
    assert error.file == str(tmp_path / "m" / reverse)
    assert f"mv {tmp_path}/m/{reverse}/001_users.sql" in error.hint
    assert await find_sets(tmp_path / "m" / forward) == {forward: tmp_path / "m" / forward}


async def test_a_folder_named_by_itself_is_looked_at_beside_its_partner(tmp_path: Path) -> None:
    """`migrations = ["m/up", "m/down"]` says no more than `m`; a lone `m/down` is what it says."""
    _write(tmp_path, "m/up/001_users.sql", "m/down/001_users.sql", "lone/down/001_users.sql")
    assert (await _refused(tmp_path / "m/down")).file == str(tmp_path / "m/down")
    assert list(await load_sets(tmp_path / "lone/down", "sqlite")) == ["down"]


async def test_directions_inside_the_folders_of_sets_are_seen(tmp_path: Path) -> None:
    """`m/billing/up` and `m/billing/down`: not passed over as if there were nothing to do."""
    _write(tmp_path, "m/billing/up/001_a.sql", "m/billing/down/001_a.sql", "m/shop/001_b.sql")
    assert (await _refused(tmp_path / "m")).file == str(tmp_path / "m/billing/down")


@pytest.mark.parametrize(
    "names",
    [
        ("undo_history", "billing"), ("shut_down", "billing"), ("drop", "billing"), ("verify", "billing"),
        ("log", "undo_log"), ("remove", "billing"), ("up", "billing"), ("downloads", "uploads"),
        ("rollback_reports", "reports"), ("previous", "billing"),
    ],
)  # fmt: skip
async def test_other_names_are_sets(names: tuple[str, str], tmp_path: Path) -> None:
    """A name that is only near such a word is a set's name."""
    _write(tmp_path, *(f"{name}/001_a.sql" for name in names))
    assert sorted(await load_sets(tmp_path, "sqlite")) == sorted(names)


async def test_a_down_folder_beside_files_is_told_of(tmp_path: Path) -> None:
    """Ignored as before, and the warning says where its files belong."""
    _write(tmp_path, "m/001_users.sql", "m/down/001_users.sql")
    found = (await load_sets(tmp_path / "m", "sqlite"))["m"]
    assert [one.id for one in found.migrations] == ["m/001"]
    assert any("NAME.down.sql" in text for text in found.warnings)


FOLDERS = (
    ("folder", "files", "moved"),
    [
        ("2020-01-01-000000_users", ("up.sql", "down.sql"), "20200101000000_users.down.sql"),
        ("001_users", ("up.sql",), "001_users.sql"),
        ("20240101_init", ("migration.sql",), "20240101_init.sql"),
        ("01-users", ("Up.sql", "Down.sql"), "01_users.down.sql"),
    ],
)


@pytest.mark.parametrize(*FOLDERS)
async def test_folders_of_migrations_in_the_folders_of_sets_are_seen(
    folder: str, files: tuple[str, ...], moved: str, tmp_path: Path
) -> None:
    """`m/app/001_users/up.sql`: not passed over as if there were nothing to do."""
    _write(tmp_path, *(f"m/app/{folder}/{name}" for name in files))
    assert str(tmp_path / "m/app" / moved) in (await _refused(tmp_path / "m")).hint


@pytest.mark.parametrize(*FOLDERS)
async def test_one_folder_for_each_migration(
    folder: str, files: tuple[str, ...], moved: str, tmp_path: Path
) -> None:
    """Diesel's, Hasura's and Prisma's: the command moves a file to where it is understood."""
    _write(tmp_path, *(f"m/{folder}/{name}" for name in files))
    error = await _refused(tmp_path / "m")
    assert error.file == str(tmp_path / "m" / folder)
    assert str(tmp_path / "m" / moved) in error.hint
    for command in error.hint.partition(": ")[2].split("; "):
        verb, source, target = command.split()
        assert verb == "mv"
        Path(source).rename(target)
    (one,) = (await load_sets(tmp_path / "m", "sqlite")).values()
    assert [(step.sql) for step in one.migrations[0].up.steps] == [UP.rstrip(";")]
    assert (one.migrations[0].down is not None) == ("down" in moved)


@pytest.mark.parametrize(
    ("files", "reverse"),
    [
        (("001_users_up.sql", "001_users_down.sql"), "001_users_down"),
        (("001_users.sql", "001_users_down.sql"), "001_users_down"),
        (("001_users.sql", "001_users_rollback.sql"), "001_users_rollback"),
        (("001_users.sql", "001_rollback_users.sql"), "001_rollback_users"),
        (("001_users.sql", "002_users_down.sql"), "002_users_down"),
        (("001_users_do.sql", "001_users_undo.sql"), "001_users_undo"),
        (("001_up.sql", "001_down.sql"), "001_down"),
        (("001_users.sql", "001_rollback.sql"), "001_rollback"),
        (("001_default_upgrade.sql", "001_default_downgrade.sql"), "001_default_downgrade"),
    ],
)
async def test_a_file_that_undoes_another_by_its_name(
    files: tuple[str, ...], reverse: str, tmp_path: Path
) -> None:
    """It would be applied, or be the second with its version: named, with what to type."""
    _write(tmp_path, *files)
    error = await _refused(tmp_path)
    assert error.file == str(tmp_path / f"{reverse}.sql")
    assert f"mv {tmp_path}/{reverse}.sql" in error.hint and ".down.sql" in error.hint


async def test_a_migration_may_be_about_going_back(tmp_path: Path) -> None:
    """`005_revert_users` is a new migration, and `006_shut_down` no half of anything."""
    names = [
        "001_users.sql",
        "005_revert_users.sql",
        "006_shut_down.sql",
        "007_undo_log.sql",
        "008_undo.sql",
    ]
    _write(tmp_path, *names)
    (found,) = (await load_sets(tmp_path, "sqlite")).values()
    assert [Path(one.path).name for one in found.migrations] == names


@pytest.mark.parametrize(
    ("name", "right", "undoes"),
    [
        ("001_users.up.sql", "001_users.sql", False),
        ("001_users.UP.SQL", "001_users.sql", False),
        ("001_users.undo.sql", "001_users.down.sql", True),
        ("001_users.rollback.sql", "001_users.down.sql", True),
        ("001_users.Down.sql", "001_users.down.sql", True),
        ("001.do.users.sql", "001_users.sql", False),
        ("001.undo.users.sql", "001_users.down.sql", True),
        ("V1__users.sql", "1_users.sql", False),
        ("U1__users.sql", "1_users.down.sql", True),
        ("U2.1__AddUsers.sql", "2.1_add_users.down.sql", True),
        ("20150101-users-up.sql", "20150101_users.sql", False),
        ("20150101-users-down.sql", "20150101_users.down.sql", True),
        ("rollback_001_users.sql", "001_users.down.sql", True),
        ("forward-12-users.sql", "12_users.sql", False),
        ("reverse-12-users.sql", "12_users.down.sql", True),
        ("shop_1_down.sql", "1_shop.down.sql", True),
        ("2024-01-02_users.sql", "20240102_users.sql", False),
        ("up.sql", "001_add_something.sql", False),
        ("Down.sql", "001_add_something.down.sql", True),
        ("follow_up.sql", "001_follow_up.sql", False),
    ],
)
def test_a_direction_in_a_name_is_meant(name: str, right: str, undoes: bool) -> None:
    """The hint leads to what is understood, and never to a down file that is applied."""
    assert right_name(name) == (right, undoes)


async def test_all_wrong_names_are_told_at_once(tmp_path: Path) -> None:
    """golang-migrate's folder: the commands of the hint make a set of it."""
    names = [f"00{n}_t{n}.{way}.sql" for n in (1, 2) for way in ("up", "down")]
    _write(tmp_path, *names, "notes.sql")
    error = await _refused(tmp_path)
    assert all(name in error.message for name in ("001_t1.up.sql", "002_t2.up.sql", "notes.sql"))
    for command in error.hint.partition(": ")[2].split("; "):
        _, source, target = command.split()
        Path(source).rename(target)
    (tmp_path / "001_notes.sql").unlink()
    (found,) = (await load_sets(tmp_path, "sqlite")).values()
    assert [one.down is not None for one in found.migrations] == [True, True]


async def test_files_without_their_migration_are_told_with_the_others(tmp_path: Path) -> None:
    """Wrong names and what belongs to nothing, in one error; a rollback file finds its migration."""
    _write(
        tmp_path,
        "001_users.sql",
        "rollback_001.sql",
        "X.sql",
        "009_gone.down.sql",
        "8_a.verify.sql",
    )
    error = await _refused(tmp_path)
    for name in ("rollback_001.sql", "X.sql", "009_gone.down.sql", "8_a.verify.sql"):
        assert repr(name) in error.message
    assert f"mv {tmp_path}/rollback_001.sql {tmp_path}/001_users.down.sql" in error.hint
