"""migrations/README.md shows migrations that work."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ledger.folder import load_set
from ledger.scripts.placeholders import bind
from tests.conftest import MakeDatabase
from tests.servers import ROOT, Server, queries, query

README = ROOT / "migrations" / "README.md"


async def test_the_example_works_as_the_next_migration(
    tmp_path: Path, mariadb: Server, make_database: MakeDatabase
) -> None:
    """The example, saved as 002 with its version.json entry, applies after 001, checks, and undoes."""
    text = README.read_text()
    (example,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    (entry,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    folder = tmp_path / "woo_ai"
    shutil.copytree(ROOT / "migrations" / "woo_ai", folder)
    (folder / "002_add_conversation_tags.sql").write_text(re.sub(r"(?m)^   ", "", example))
    (folder / "version.json").write_text(entry)
    migrations = (await load_set(folder, "mysql")).migrations
    variables = {"prefix": "wp_", "wpdb_users": "wp_users", "charset_collate": ""}
    first, second = (bind(migration, variables) for migration in migrations)
    assert second.depends == (("woo_ai", "001"),)
    assert second.manifest.tables_created == ("woo_ai_conversation_tags",)
    assert [step.skip_if.subject for step in second.up.steps if step.skip_if] == [
        "wp_woo_ai_conversations.priority"
    ]
    database = make_database(mariadb, "readme")
    users = "CREATE TABLE wp_users (ID int PRIMARY KEY, display_name text, user_email text)"
    statements = [users, *(step.sql for step in (*first.up.steps, *second.up.steps))]
    queries(mariadb, statements, database=database)
    assert [query(mariadb, check.sql, database=database) for check in second.checks] == [((1,),)]
    assert second.down is not None
    queries(mariadb, [step.sql for step in second.down.steps], database=database)
    columns = query(mariadb, "SHOW COLUMNS FROM wp_woo_ai_conversations", database=database)
    assert "priority" not in {row[0] for row in columns}


def test_every_command_that_it_names_exists() -> None:
    """No `ledger COMMAND` in the text is one that the program does not have."""
    from ledger.cli.group import ledger

    named = set(re.findall(r"\bledger ([a-z]+)(?=[ `\n])", README.read_text()))
    known = set(ledger.list_commands(ledger.make_context("ledger", [], resilient_parsing=True)))
    prose = {"refuses", "sets", "compares", "only", "counts"}
    assert named - prose <= known
