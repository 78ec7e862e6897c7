"""`migrate -v` of one tenant reads like the expected output of the preset assistants guide."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, sqlite_run
from tests.cli.test_cli_mysql import address
from tests.servers import ROOT, Server, query

MakeDatabase = Callable[..., str]

GUIDE = """\
✓ Connected to assistants: sqlite:///…
✓ Created backup: …
  ✓ Step 1: Add category column to assistants table
  ✓ Step 2: Add usage_count column to assistants table
  ✓ Step 3: Add rating column to assistants table
  ✓ Step 4: Create favorites table
  ✓ Step 5: Create ratings table
  ✓ Step 6: Create usage_logs table
  ✓ Step 7: Create index on assistants.category
Validating data integrity
  ✓ Assistants table structure
  ✓ Favorites table exists
  ✓ Ratings table exists
  ✓ Usage logs table exists
  ✓ All assistants have default values
  ✓ Indexes created
✓ All validation checks passed
✓ Recorded preset_assistants 2.0.0 …
✓ Migration completed successfully!
Backup saved at: …
You can safely delete the backup if everything works correctly…
"""
"""The guide's lines in our order: checks run before a version is recorded, not after; … is anything."""


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """The guide's database, at the version before the expansion."""
    sqlite_run(tmp_path / "data/assistants.db", "CREATE TABLE mine (x)")
    terminal.write(
        "ledger.toml",
        f'migrations = "{ROOT}/migrations/preset_assistants"\n'
        '[[tenants]]\nsqlite = "data/assistants.db"\n',
    )
    terminal.ok("migrate", "--tenant", "assistants", "--to", "1.0.0")
    return terminal


def in_order(told: str, wanted: str) -> None:
    """Every wanted line is told, in this order; others may stand between them."""
    lines = iter(told.splitlines())
    for want in wanted.splitlines():
        pattern = re.escape(want).replace("…", ".*")
        assert any(re.fullmatch(pattern, line) for line in lines), (want, told)


def test_the_guides_expected_output(terminal: Terminal) -> None:
    """Connected, backup with its path, every step by name with ✓, every check, where the backup is."""
    ended = terminal.ok("migrate", "--tenant", "assistants", "-v")
    in_order(ended.out, GUIDE)
    created, saved = re.findall(r"(?:Created backup|Backup saved at): (\S+)", ended.out)
    assert created == saved and Path(saved).stat().st_mode & 0o777 == 0o600
    steps = re.findall(r"^  [✓⊘] Step (\d+): ", ended.out, re.MULTILINE)
    assert [int(one) for one in steps] == list(range(1, len(steps) + 1)) and len(steps) > 7


def test_what_is_there_already_is_told_with_its_sign(terminal: Terminal) -> None:
    """The guide's "column already exists": ⊘, the step's name, and why; the others run."""
    sqlite_run(
        terminal.folder / "data/assistants.db",
        "ALTER TABLE assistants ADD COLUMN category TEXT DEFAULT 'general'",
    )
    ended = terminal.ok("migrate", "--tenant", "assistants", "-v")
    skipped = "  ⊘ Step 1: Add category column to assistants table (…assistants.category…)\n"
    in_order(ended.out, skipped + "  ✓ Step 2: Add usage_count column to assistants table\n")
    again = terminal.ok("migrate", "--tenant", "assistants", "-v")
    assert again.out == "Nothing to do: 1 tenant is current.\n"


def test_a_failure_is_no_success(terminal: Terminal) -> None:
    """✗ with the step, its file and line; the backup is named, and nothing says that it may go."""
    terminal.write("more/003_bad.sql", "-- step: Break\nUPDATE nope SET x = 1;\n")
    config = (terminal.folder / "ledger.toml").read_text()
    folders = f'migrations = ["{ROOT}/migrations/preset_assistants", "more"]'
    terminal.write("ledger.toml", re.sub(r"migrations = .*", folders, config))
    ended = terminal.run("migrate", "--tenant", "assistants", "-v")
    assert ended.code == 3 and "✗ Failed at step 1: " in ended.out and "003_bad.sql:2" in ended.out
    assert "Backup saved at: " in ended.out
    assert "successfully" not in ended.out and "safely delete" not in ended.out


def test_on_a_server(terminal: Terminal, sql_server: Server, make_database: MakeDatabase) -> None:
    """The Woo set under a prefix, told in the same words."""
    database = make_database(sql_server)
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    query(
        sql_server,
        "CREATE TABLE wp_users (ID bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,"
        " display_name varchar(250), user_email varchar(100))",
        database=database,
    )
    terminal.write(
        "ledger.toml",
        f'url = "sqlite:///server.db"\nmigrations = "{ROOT}/migrations/woo_ai"\n[[tenants]]\n{named}'
        f'mysql = "{address(sql_server, database)}"\nprefixes = ["wp_"]\n'
        'variables = { wpdb_users = "wp_users" }\n',
    )
    env = {"TEST_PASSWORD": sql_server.password}
    told = terminal.ok("migrate", "--tenant", "wp", "-v", env=env).out
    in_order(
        told,
        "✓ Connected to wp: mysql://…\n✓ Created backup: …\n  ✓ Step 1: …\nValidating data integrity\n"
        "✓ All validation checks passed\n✓ Recorded woo_ai 001 …\n"
        "✓ Migration completed successfully!\nBackup saved at: …\n",
    )
