"""`ledger lint`: each rule finds what it is for, at its file and line, and leaves good files alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.servers import ROOT

SQLITE = 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n'
MYSQL = 'migrations = "migrations/app"\n[[tenants]]\nmysql = "mysql://app@127.0.0.1:1/x"\n'
DOWN = "-- migrate:down\nSELECT 1;\n"


def linted(terminal: Terminal, sql: str, config: str = SQLITE) -> tuple[int, list[dict[str, Any]]]:
    terminal.write("ledger.toml", config)
    terminal.write("migrations/app/001_x.sql", sql)
    ended = terminal.run("lint", "--format", "json")
    return ended.code, ended.json()


REBUILD = (
    "CREATE TABLE new_users (id INTEGER PRIMARY KEY);\n"
    "INSERT INTO new_users SELECT id FROM users;\n"
    "DROP TABLE users;\n"
    "ALTER TABLE new_users RENAME TO users;\n"
)

CASES: dict[str, tuple[str, str, str, str, int]] = {
    "drop table": (SQLITE, "SELECT 1;\nDROP TABLE users;\n", "destructive", "warning", 2),
    "a slip in a guard": (SQLITE, "-- skpi-if: table x\nSELECT 1;\n", "unusable", "error", 1),
    "a guard in a block": (MYSQL, "/* skip-if: table x */\nSELECT 1;\n", "unusable", "error", 1),
    "delete without where": (SQLITE, "DELETE FROM users;\n", "destructive", "warning", 1),
    "truncate": (MYSQL, "TRUNCATE TABLE users;\n", "destructive", "warning", 1),
    "rebuild": (SQLITE, REBUILD, "rebuild-foreign-keys", "warning", 3),
    "rebuild with foreign keys on": (
        SQLITE,
        "PRAGMA foreign_keys = ON;\n" + REBUILD,
        "rebuild-foreign-keys",
        "error",
        4,
    ),
    "unsettleable": (MYSQL, "CALL do_it();\n", "not-atomic", "warning", 1),
    "several dropped": (MYSQL, "DROP TABLE a, b;\n", "not-atomic", "warning", 1),
    "syntax in a section sync": (
        SQLITE,
        "-- migrate:sync\nCREATE TABLE a (x);\nCREATE TABLE b (x INTEGER NOT NUL);\n",
        "syntax",
        "error",
        3,
    ),
    "placeholder in a section sync": (
        SQLITE,
        "-- migrate:sync\nCREATE TABLE {prefx}a (x);\n",
        "unknown-placeholder",
        "error",
        2,
    ),
    "an index in a section sync without its table": (
        SQLITE,
        "-- migrate:sync\nCREATE TABLE a (x);\nCREATE INDEX b_x ON b (x);\n",
        "sync",
        "error",
        3,
    ),
    "placeholder": (
        SQLITE,
        "SELECT 1;\nCREATE TABLE {prefx}a (x);\n",
        "unknown-placeholder",
        "error",
        2,
    ),
    "sqlite syntax": (SQLITE, "SELECT 1;\nCREAT TABLE a (x);\n", "syntax", "error", 2),
    "sqlite syntax in down": (
        SQLITE,
        "SELECT 1;\n-- migrate:down\nDRP TABLE a;\n",
        "syntax",
        "error",
        3,
    ),
    "unterminated": (SQLITE, "SELECT 1;\nSELECT 'x;\n", "unusable", "error", 2),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_finds_its_mistake(terminal: Terminal, case: str) -> None:
    """At its file and line; exit 4 for an error, 0 for a warning."""
    config, sql, rule, severity, line = CASES[case]
    code, found = linted(terminal, sql if "migrate:down" in sql else sql + DOWN, config)
    wanted = [one for one in found if one["rule"] == rule]
    assert [(one["severity"], one["line"]) for one in wanted] == [(severity, line)], found
    assert wanted[0]["file"].endswith("001_x.sql") and wanted[0]["message"]
    assert code == (4 if any(one["severity"] == "error" for one in found) else 0)


def test_names_that_read_like_a_parsers_words(terminal: Terminal) -> None:
    """A missing table is no mistake of the file, whatever it is called."""
    sql = 'INSERT INTO "near x: syntax error" SELECT 1;\nDELETE FROM "incomplete input" WHERE 1;\n'
    code, found = linted(terminal, sql + DOWN)
    assert code == 0 and [one["rule"] for one in found] == []


def test_missing_down(terminal: Terminal) -> None:
    """A migration that only a backup can undo is said to be that."""
    code, found = linted(terminal, "CREATE TABLE a (x);\n")
    assert code == 0 and [one["rule"] for one in found] == ["missing-down"]


GOOD = {
    "rebuild as SQLite says": (SQLITE, "PRAGMA foreign_keys = OFF;\n" + REBUILD + DOWN),
    "rebuild with foreign keys off, without a transaction": (
        SQLITE,
        "-- migrate:up transaction:false\nPRAGMA foreign_keys = -1;\n" + REBUILD + DOWN,
    ),
    "delete with where": (SQLITE, "DELETE FROM users WHERE id = 1;\n" + DOWN),
    "drop in down": (SQLITE, "CREATE TABLE a (x);\n-- migrate:down\nDROP TABLE a;\n"),
    "trigger": (
        SQLITE,
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;\n" + DOWN,
    ),
    "redo-safe": (MYSQL, "-- redo-safe\nCALL do_it();\n" + DOWN),
    "placeholders": (
        MYSQL,
        "CREATE TABLE {prefix}a (x INT) {charset_collate};\n"
        "-- migrate:down\nDROP TABLE {prefix}a;\n",
    ),
    "sync": (
        SQLITE,
        "-- migrate:sync\nCREATE TABLE {prefix}a (x INTEGER PRIMARY KEY);\n"
        "CREATE INDEX IF NOT EXISTS {prefix}a_x ON {prefix}a (x);\n" + DOWN,
    ),
    "procedure": (
        MYSQL,
        "DELIMITER $$\nCREATE PROCEDURE p() BEGIN SELECT 1; END$$\nDELIMITER ;\n" + DOWN,
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_right_is_left_alone(terminal: Terminal, case: str) -> None:
    """No finding, exit 0."""
    config, sql = GOOD[case]
    assert linted(terminal, sql, config) == (0, [])


def test_a_wish_is_said_to_need_a_scratch_database(terminal: Terminal) -> None:
    """On MySQL and MariaDB a section sync, as for dbDelta, has that warning and no other."""
    sql = (
        "-- migrate:sync\nCREATE TABLE {prefix}a (\n  id bigint(20) unsigned NOT NULL,\n"
        "  PRIMARY KEY  (id)\n) {charset_collate};\n" + DOWN
    )
    code, found = linted(terminal, sql, MYSQL)
    assert code == 0
    assert [(one["rule"], one["severity"], one["line"]) for one in found] == [
        ("scratch-database", "warning", 2)
    ]


def test_the_shipped_sets_are_clean(terminal: Terminal) -> None:
    """Nothing is found in what comes with the product."""
    for name, source in (
        ("preset_assistants", 'sqlite = "data/*.db"'),
        ("woo_ai", 'mysql = "mysql://a@h/x"\nprefixes = ["wp_"]\nvariables = { wpdb_users = "u" }'),
    ):
        terminal.write(
            "ledger.toml", f'migrations = "{ROOT}/migrations/{name}"\n[[tenants]]\n{source}\n'
        )
        assert terminal.ok("lint").out == "Nothing found.\n"


def test_text_for_a_person(terminal: Terminal) -> None:
    """FILE:LINE first, as editors know it, then the rule, a hint, and the count."""
    terminal.write("ledger.toml", SQLITE)
    terminal.write("migrations/app/001_x.sql", "DROP TABLE users;\n")
    told = terminal.ok("lint").out
    assert "001_x.sql:1: warning: DROP TABLE users loses data [destructive]" in told
    assert told.endswith("0 errors, 2 warnings.\n")
