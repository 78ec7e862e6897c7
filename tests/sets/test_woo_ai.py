"""The set `woo_ai` is what the Woo AI Assistant's document describes, on MariaDB and MySQL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pymysql
import pytest

from ledger.dialects.steps import Check, Step
from ledger.folder import load_set
from ledger.scripts.model import Migration
from ledger.scripts.placeholders import bind
from tests.conftest import MakeDatabase
from tests.servers import ROOT, Server, queries, query

FOLDER = ROOT / "migrations" / "woo_ai"
TABLES = ("conversations", "messages", "knowledge_base", "settings", "analytics", "action_logs")
VIEWS = ("conversation_summary", "kb_summary")
KEY_COLUMNS = {
    "conversations": {"id", "user_id", "session_id", "status", "rating", "handoff_requested"},
    "messages": {"conversation_id", "role", "content", "tokens_used", "model_used"},
    "knowledge_base": {"content_type", "content_id", "chunk_text", "embedding", "chunk_hash"},
    "settings": {"setting_key", "setting_value", "setting_group", "is_sensitive"},
    "analytics": {"metric_type", "metric_value", "context", "conversation_id"},
    "action_logs": {"action_type", "details", "success", "severity"},
}
USERS = (
    "CREATE TABLE wp_users (ID bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " display_name varchar(250) NOT NULL, user_email varchar(100) NOT NULL)"
)


async def bound(prefix: str) -> Migration:
    """Migration 001 for one site."""
    shipped = await load_set(FOLDER, "mysql")
    (migration,) = shipped.migrations
    variables = {
        "prefix": prefix,
        "wpdb_users": "wp_users",
        "charset_collate": "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    }
    return bind(migration, variables)


def site_database(server: Server, make_database: MakeDatabase) -> str:
    """A database that has WordPress' table of users and nothing else."""
    database = make_database(server, "woo")
    query(server, USERS, database=database)
    return database


def run(server: Server, database: str, steps: Sequence[Step]) -> None:
    """Each step's statement, one after the other."""
    queries(server, [step.sql for step in steps], database=database)


def failed_checks(server: Server, database: str, checks: Sequence[Check]) -> list[str]:
    """The names of the checks that do not hold."""
    return [check.name for check in checks if not query(server, check.sql, database=database)[0][0]]


def test_version_json_says_what_is_true() -> None:
    """version.json has the document's fields, and its checksum and objects are the file's own."""
    said = json.loads((FOLDER / "version.json").read_bytes())
    entry = said["migrations"]["001"]
    data = (FOLDER / entry["file"]).read_bytes()
    assert entry["checksum"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert entry["tables_created"] == [f"woo_ai_{name}" for name in TABLES]
    assert entry["views_created"] == [f"woo_ai_{name}" for name in VIEWS]
    assert entry["dependencies"] == []
    assert {"description", "estimated_time_seconds", "requires_backup"} <= set(entry)
    assert said["target_version"] == "001"
    assert {
        "migration_timeout_seconds",
        "backup_before_migration",
        "auto_migrate_on_activation",
    } <= set(said)


async def test_the_set_is_read_with_what_version_json_adds() -> None:
    """The folder's reader accepts the set without a warning and keeps version.json's figures."""
    shipped = await load_set(FOLDER, "mysql")
    (migration,) = shipped.migrations
    assert (shipped.target, shipped.auto_migrate, shipped.warnings) == ("001", True, ())
    assert migration.warnings == ()
    assert migration.manifest.requires_backup
    assert migration.manifest.timeout_seconds == 300
    assert migration.uses == {"prefix", "wpdb_users", "charset_collate"}
    assert len(migration.up.steps) == 9
    assert migration.down is not None
    dropped = [step.sql.split()[1] for step in migration.down.steps]
    assert dropped == ["VIEW"] * 2 + ["TABLE"] * 6


async def test_up_makes_the_documents_tables_and_views(
    sql_server: Server, make_database: MakeDatabase
) -> None:
    """Six InnoDB tables in utf8mb4 with the document's key columns, two views, and all checks hold."""
    database = site_database(sql_server, make_database)
    migration = await bound("wp_2_")
    run(sql_server, database, migration.up.steps)
    assert failed_checks(sql_server, database, migration.checks) == []
    for table, expected in KEY_COLUMNS.items():
        found = query(sql_server, f"SHOW COLUMNS FROM wp_2_woo_ai_{table}", database=database)
        assert expected <= {row[0] for row in found}
    kinds = query(
        sql_server,
        "SELECT table_name, engine, table_collation FROM information_schema.tables"
        " WHERE table_schema = database() AND table_type = 'BASE TABLE' AND table_name <> 'wp_users'",
        database=database,
    )
    assert sorted(kinds) == sorted(
        (f"wp_2_woo_ai_{table}", "InnoDB", "utf8mb4_unicode_ci") for table in TABLES
    )
    sensitive = query(
        sql_server,
        "SELECT setting_key, setting_value FROM wp_2_woo_ai_settings WHERE is_sensitive",
        database=database,
    )
    assert set(sensitive) == {("api_key", None), ("handoff_email", None)}


async def test_again_changes_nothing_and_keeps_settings(
    sql_server: Server, make_database: MakeDatabase
) -> None:
    """Every step may be repeated: a setting that the site changed stays changed."""
    database = site_database(sql_server, make_database)
    migration = await bound("wp_")
    run(sql_server, database, migration.up.steps)
    value = "SELECT setting_value FROM wp_woo_ai_settings WHERE setting_key = 'language'"
    change = "UPDATE wp_woo_ai_settings SET setting_value = 'fr' WHERE setting_key = 'language'"
    query(sql_server, change, database=database)
    before = query(sql_server, "SELECT count(*) FROM wp_woo_ai_settings", database=database)
    run(sql_server, database, migration.up.steps)
    assert query(sql_server, value, database=database) == (("fr",),)
    assert query(sql_server, "SELECT count(*) FROM wp_woo_ai_settings", database=database) == before
    assert all(step.redo_safe for step in migration.up.steps)


async def test_views_show_conversations_and_content(
    sql_server: Server, make_database: MakeDatabase
) -> None:
    """The summaries name the user (or Guest), count messages and tokens, and group the content."""
    database = site_database(sql_server, make_database)
    migration = await bound("wp_")
    run(sql_server, database, migration.up.steps)
    queries(
        sql_server,
        (
            "INSERT INTO wp_users VALUES (7, 'Ana', 'ana@example.org')",
            "INSERT INTO wp_woo_ai_conversations (id, user_id, session_id)"
            " VALUES (1, 7, 's'), (2, NULL, 'g')",
            "INSERT INTO wp_woo_ai_messages (conversation_id, role, content, tokens_used)"
            " VALUES (1, 'user', 'hi', 3), (1, 'assistant', 'hello', 5)",
            "INSERT INTO wp_woo_ai_knowledge_base"
            " (content_type, content_id, chunk_text, chunk_hash, embedding)"
            " VALUES ('page', 1, 'ab', 'x', '[0.1]'), ('page', 1, 'cde', 'y', NULL)",
        ),
        database=database,
    )
    conversations = query(
        sql_server,
        "SELECT id, user_name, message_count, total_tokens FROM wp_woo_ai_conversation_summary"
        " ORDER BY id",
        database=database,
    )
    assert conversations == ((1, "Ana", 2, 8), (2, "Guest", 0, 0))
    content = query(
        sql_server,
        "SELECT content_type, chunk_count, content_count, embedded_count, total_characters"
        " FROM wp_woo_ai_kb_summary",
        database=database,
    )
    assert content == (("page", 2, 1, 1, 5),)


async def test_foreign_keys_hold_and_let_go(
    sql_server: Server, make_database: MakeDatabase
) -> None:
    """Messages go with their conversation; metrics and the audit trail stay, without it."""
    database = site_database(sql_server, make_database)
    migration = await bound("wp_")
    run(sql_server, database, migration.up.steps)
    orphan = (
        "INSERT INTO wp_woo_ai_messages (conversation_id, role, content) VALUES (9, 'user', '')"
    )
    with pytest.raises(pymysql.err.IntegrityError, match="foreign key constraint"):
        query(sql_server, orphan, database=database)
    queries(
        sql_server,
        (
            "INSERT INTO wp_woo_ai_conversations (id, session_id) VALUES (1, 's')",
            "INSERT INTO wp_woo_ai_messages (conversation_id, role, content) VALUES (1, 'user', '')",
            "INSERT INTO wp_woo_ai_analytics (metric_type, conversation_id) VALUES ('m', 1)",
            "INSERT INTO wp_woo_ai_action_logs (action_type, conversation_id) VALUES ('a', 1)",
            "DELETE FROM wp_woo_ai_conversations",
        ),
        database=database,
    )
    left = {
        table: query(sql_server, f"SELECT count(*) FROM wp_woo_ai_{table}", database=database)
        for table in ("messages", "analytics", "action_logs")
    }
    assert left == {"messages": ((0,),), "analytics": ((1,),), "action_logs": ((1,),)}


async def test_down_leaves_nothing_and_spares_the_neighbour(
    sql_server: Server, make_database: MakeDatabase
) -> None:
    """Two sites share one database; undoing one leaves exactly the other's objects."""
    database = site_database(sql_server, make_database)
    first, second = await bound("wp_2_"), await bound("wp_3_")
    for migration in (first, second):
        run(sql_server, database, migration.up.steps)
    assert first.down is not None
    run(sql_server, database, first.down.steps)
    left = {name for (name,) in query(sql_server, "SHOW TABLES", database=database)}
    assert left == {"wp_users"} | {f"wp_3_woo_ai_{name}" for name in (*TABLES, *VIEWS)}
    assert failed_checks(sql_server, database, second.checks) == []
    assert "Six tables exist" in failed_checks(sql_server, database, first.checks[:1])
