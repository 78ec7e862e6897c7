"""`backup = "each"`, and what a plan says of the way back under each policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger import events as ev
from ledger.plan import Undo
from tests.cli.terminal import Terminal
from tests.cli.test_cli_mysql import address
from tests.conftest import MakeDatabase
from tests.fleet.world import Fleet
from tests.servers import Server, query

SET = {
    "002_more.sql": "CREATE TABLE more (id INT);\nINSERT INTO more VALUES (1);\n",
    "003_spoil.sql": "DELETE FROM more;\nINSERT INTO more VALUES (3);\n",
    "004_tags.sql": "CREATE TABLE tags (id INT);\n-- migrate:down\nDROP TABLE tags;\n",
    "005_drop.sql": "DROP TABLE more;\n",
}


def fleet_of(root: Path, *, tenants: int, policy: str, workers: int = 0) -> Fleet:
    """A fleet with migrations of which only some have down steps."""
    fleet = Fleet(root, tenants=tenants, extra=f'backup = "{policy}"\nworkers = {workers}')
    for name, text in SET.items():
        fleet.write(name, text)
    return fleet


@pytest.mark.parametrize("workers", [0, 2])
async def test_each_migration_has_its_backup(tmp_path: Path, workers: int) -> None:
    """The newest of one run is undone alone, and so is the one before it, by worker processes too."""
    fleet = fleet_of(tmp_path, tenants=3, policy="each", workers=workers)
    assert (await fleet.open().migrate()).summary == {"migrated": 3}
    kept = [row.data for row in await fleet.events("t1") if isinstance(row.data, ev.BackupCreated)]
    assert [len(one.applied) for one in kept] == [0, 1, 2, 3, 4]
    assert len({one.path for one in kept}) == 5
    assert (await fleet.open().rollback()).summary == {"rolled_back": 3}
    assert fleet.query("t1", "SELECT id FROM more") == [(3,)]
    assert (await fleet.open().rollback(to="002")).summary == {"rolled_back": 3}
    assert fleet.query("t1", "SELECT id FROM more") == [(1,)]
    assert (await fleet.open().migrate()).summary == {"migrated": 3}


async def test_always_keeps_one_for_a_run(tmp_path: Path) -> None:
    """The policy as it was: one backup, and the newest without down steps is not undone alone."""
    fleet = fleet_of(tmp_path, tenants=1, policy="always")
    await fleet.open().migrate()
    kept = [one for one in await fleet.events("t0") if isinstance(one.data, ev.BackupCreated)]
    assert len(kept) == 1
    refused = (await fleet.open().rollback()).failures[0]
    assert 'backup = "each"' in refused.hint


SCRIPT = Undo(how="script")
NONE = Undo(how="none")
BEFORE = tuple(f"migrations/{one}" for one in ("001", "002", "003", "004"))
PLANNED = {
    "always": (
        SCRIPT,
        Undo(how="backup", others=BEFORE[:1]),
        Undo(how="backup", others=BEFORE[:2]),
        SCRIPT,
        Undo(how="backup", others=BEFORE),
    ),
    "each": (SCRIPT, Undo(how="backup"), Undo(how="backup"), SCRIPT, Undo(how="backup")),
    # 003 deletes without a condition and 005 drops; they share the backup from before 003.
    "auto": (
        SCRIPT,
        NONE,
        Undo(how="backup"),
        SCRIPT,
        Undo(how="backup", others=("migrations/003", "migrations/004")),
    ),
    "never": (SCRIPT, NONE, NONE, SCRIPT, NONE),
}


@pytest.mark.parametrize("policy", PLANNED)
async def test_the_plan_says_what_a_rollback_can_do(tmp_path: Path, policy: str) -> None:
    """Each migration: its down steps, its backup and what goes with it, or nothing; and so it comes."""
    fleet = fleet_of(tmp_path, tenants=1, policy=policy)
    (planned,) = (await fleet.open().plan()).tenants
    assert tuple(one.undo for one in planned.migrations) == PLANNED[policy]
    await fleet.open().migrate()
    last = PLANNED[policy][-1]
    alone = await fleet.open().rollback()
    if last.how == "none" or last.others:
        assert alone.failures
    else:
        assert alone.summary == {"rolled_back": 1}


def test_the_plan_is_read_by_people(tmp_path: Path, terminal: Terminal) -> None:
    """Only what is not undone by its down steps has a line; `--no-backup` counts for the plan, too."""
    fleet_of(tmp_path, tenants=1, policy="always")
    lines = [one.strip() for one in terminal.ok("plan").out.splitlines() if "rollback:" in one]
    assert len(lines) == 3
    assert lines[0].endswith(
        'only together with migrations/001 (backup = "each" keeps one for it alone)'
    )
    told = terminal.ok("migrate", "--all-tenants", "--dry-run", "--no-backup").out
    assert told.count("no down steps, and this run takes no backup before it") == 3


def test_each_on_a_server(
    sql_server: Server, make_database: MakeDatabase, terminal: Terminal
) -> None:
    """MariaDB and MySQL: the newest of one run alone; a failure in the middle has its backup too."""
    database = make_database(sql_server)
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    terminal.write(
        "ledger.toml",
        f'migrations = "migrations"\nbackup = "each"\n[[tenants]]\n{named}'
        f'mysql = "{address(sql_server, database)}"\n',
    )
    env = {"TEST_PASSWORD": sql_server.password}
    for name, text in SET.items():
        terminal.write(f"migrations/{name}", text)
    terminal.write(
        "migrations/006_bad.sql", "CREATE TABLE half (id INT);\nCREATE TABLE half (id INT);\n"
    )
    assert terminal.run("migrate", "--all-tenants", env=env).code == 3
    kept = terminal.ok("backups", "--all-tenants", "--format", "json", env=env).json()
    assert len(kept) == 5
    terminal.ok("rollback", "006", "--all-tenants", "-y", env=env)
    assert query(sql_server, "SHOW TABLES LIKE 'half'", database=database) == ()
    terminal.ok("rollback", "--all-tenants", "-y", env=env)
    assert query(sql_server, "SELECT id FROM more", database=database) == ((3,),)
