"""The set `preset_assistants` is what the guide of the preset assistants expansion describes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ledger.dialects.steps import Step
from ledger.folder import load_set
from ledger.scripts.model import Migration, MigrationSet
from tests.servers import ROOT

FOLDER = ROOT / "migrations" / "preset_assistants"

# The guide's words, in its order.
NAMED_IN_THE_GUIDE = (
    "Step 1: Add category column to assistants table",
    "Step 2: Add usage_count column to assistants table",
    "Step 3: Add rating column to assistants table",
    "Step 4: Create favorites table",
    "Step 5: Create ratings table",
    "Step 6: Create usage_logs table",
    "Step 7: Create index on assistants.category",
)
CHECKS = (
    "Assistants table structure",
    "Favorites table exists",
    "Ratings table exists",
    "Usage logs table exists",
    "All assistants have default values",
    "Indexes created",
)
INDEXES = (
    "idx_assistants_category",
    "idx_assistants_rating",
    "idx_assistants_usage_count",
    "idx_favorites_assistant",
    "idx_favorites_user",
    "idx_ratings_assistant",
    "idx_ratings_user",
    "idx_usage_logs_assistant",
    "idx_usage_logs_user",
)
TABLES = ("assistants", "backups", "favorites", "migrations", "ratings", "usage_logs")


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """An empty SQLite database that enforces foreign keys."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection
    connection.close()


@pytest.fixture
async def shipped() -> MigrationSet:
    """The set as it is read from the folder."""
    return await load_set(FOLDER, "sqlite")


def run(database: sqlite3.Connection, steps: Sequence[Step]) -> None:
    """Each step's statement, one after the other."""
    for step in steps:
        database.execute(step.sql)


def failed_checks(database: sqlite3.Connection, migration: Migration) -> list[str]:
    """The names of the checks that do not hold."""
    return [
        check.name for check in migration.checks if not database.execute(check.sql).fetchone()[0]
    ]


def names(database: sqlite3.Connection, kind: str) -> tuple[str, ...]:
    """All tables or indexes that are not SQLite's own."""
    found = database.execute(
        "SELECT name FROM sqlite_master WHERE type = ? AND name NOT LIKE 'sqlite%' ORDER BY name",
        (kind,),
    )
    return tuple(name for (name,) in found)


def columns(database: sqlite3.Connection) -> list[tuple[object, ...]]:
    """The columns of assistants: place, name, type, not null, default, primary key."""
    return database.execute("PRAGMA table_info('assistants')").fetchall()


def test_the_guides_steps_and_checks_are_there_by_name(shipped: MigrationSet) -> None:
    """2.0.0 has every step and check that the guide prints, in its order, and nine index steps."""
    base, expansion = shipped.migrations
    assert (base.ref.version, expansion.ref.version) == ("1.0.0", "2.0.0")
    steps = [step.name for step in expansion.up.steps]
    assert tuple(steps[:7]) == NAMED_IN_THE_GUIDE
    assert [name.split(":")[0] for name in steps] == [f"Step {n}" for n in range(1, 18)]
    assert sum("Create index on" in name for name in steps) == 9
    assert tuple(check.name for check in expansion.checks) == CHECKS
    assert expansion.depends == (("preset_assistants", "1.0.0"),)


def test_every_schema_step_has_its_guard(shipped: MigrationSet) -> None:
    """Steps 1 to 15 are skipped where their column, table or index is there already."""
    expansion = shipped.migrations[1]
    guards = [step.skip_if.text for step in expansion.up.steps[:15] if step.skip_if is not None]
    assert guards[:3] == [
        "column assistants.category",
        "column assistants.usage_count",
        "column assistants.rating",
    ]
    assert guards[3:6] == ["table favorites", "table ratings", "table usage_logs"]
    assert sorted(guards[6:]) == [f"index {name}" for name in INDEXES]


def test_up_makes_what_the_guides_verification_section_shows(
    shipped: MigrationSet, database: sqlite3.Connection
) -> None:
    """The tables, indexes and the migrations row of the guide; rows that were there have values."""
    base, expansion = shipped.migrations
    run(database, base.up.steps)
    assert failed_checks(database, base) == []
    add_assistant(database, "a")
    run(database, expansion.up.steps)
    assert failed_checks(database, expansion) == []
    assert names(database, "table") == TABLES
    assert names(database, "index") == INDEXES
    assert database.execute("SELECT name FROM migrations WHERE version = '2.0.0'").fetchall() == [
        ("preset_assistants",)
    ]
    row = database.execute("SELECT category, usage_count, rating FROM assistants").fetchone()
    assert row == ("[]", 0, 0.0)


def test_what_belongs_to_an_assistant_goes_with_it(
    shipped: MigrationSet, database: sqlite3.Connection
) -> None:
    """Deleting an assistant deletes its favorites, ratings and logs; a rating is 1 to 5, one a user."""
    for migration in shipped.migrations:
        run(database, migration.up.steps)
    add_assistant(database, "a")
    database.execute("INSERT INTO favorites VALUES (NULL, 'u', 'a', 'now')")
    database.execute("INSERT INTO ratings VALUES (NULL, 'u', 'a', 5, NULL, 'now')")
    database.execute("INSERT INTO usage_logs VALUES (NULL, 'u', 'a', 12, 'now')")
    for refused in (
        "INSERT INTO ratings VALUES (NULL, 'v', 'a', 6, NULL, 'now')",
        "INSERT INTO ratings VALUES (NULL, 'u', 'a', 4, NULL, 'now')",
        "INSERT INTO favorites VALUES (NULL, 'u', 'nobody', 'now')",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(refused)
    database.execute("DELETE FROM assistants")
    for table in ("favorites", "ratings", "usage_logs"):
        assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_down_takes_back_what_up_made(shipped: MigrationSet, database: sqlite3.Connection) -> None:
    """After 2.0.0 up and down the base schema is as before, rows included, and up works again."""
    base, expansion = shipped.migrations
    run(database, base.up.steps)
    add_assistant(database, "a")
    before = (columns(database), names(database, "table"), names(database, "index"))
    rows = database.execute("SELECT * FROM assistants").fetchall()
    run(database, expansion.up.steps)
    assert expansion.down is not None
    run(database, expansion.down.steps)
    assert (columns(database), names(database, "table"), names(database, "index")) == before
    assert database.execute("SELECT * FROM assistants").fetchall() == rows
    assert database.execute("SELECT version FROM migrations").fetchall() == [("1.0.0",)]
    run(database, expansion.up.steps)
    assert failed_checks(database, expansion) == []
    run(database, expansion.down.steps)
    assert base.down is not None
    run(database, base.down.steps)
    assert names(database, "table") == ()


async def test_step_by_step_is_the_same_as_the_whole_script(
    shipped: MigrationSet, database: sqlite3.Connection
) -> None:
    """What the steps make, SQLite makes of the up parts as they stand: nothing is lost in reading."""
    for migration in shipped.migrations:
        run(database, migration.up.steps)
    with closing(sqlite3.connect(":memory:")) as other:
        for migration in shipped.migrations:
            other.executescript(up_part(Path(migration.path)))
        assert schema(database) == schema(other)


def up_part(file: Path) -> str:
    """The file's text up to its down part, as a script."""
    return file.read_text().partition("-- migrate:down")[0]


def schema(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every object's name and text."""
    return database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def add_assistant(database: sqlite3.Connection, key: str) -> None:
    """An assistant with what 1.0.0 asks for."""
    database.execute(
        "INSERT INTO assistants (id, title, prompt, created_at, updated_at)"
        " VALUES (?, 'Title', 'Prompt', 'now', 'now')",
        (key,),
    )
