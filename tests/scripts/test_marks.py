"""Other tools' section marks, and this one's own where they count for nothing, are no prose."""

from __future__ import annotations

import pytest

from ledger.dialects.steps import DialectName
from ledger.errors import ScriptError
from ledger.events import MigrationRef
from ledger.scripts.contents import from_contents
from ledger.scripts.model import Migration
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import read_source

DIALECTS: tuple[DialectName, ...] = ("sqlite", "mysql")
UP = "CREATE TABLE users (id INT);"
DOWN = "DROP TABLE users;"
PAIRS = {
    "goose": ("-- +goose Up", "-- +goose Down"),
    "goose, small and tight": ("--+goose up", "--+goose down"),
    "sql-migrate": ("-- +migrate Up notransaction", "-- +migrate Down notransaction"),
    "micrate": ("-- +micrate Up", "-- +micrate Down"),
    "a tool of the same manner": ("-- +ptah Up", "-- +ptah Down"),
    "node-pg-migrate": ("-- Up Migration", "-- Down Migration"),
    "play, with #": ("# --- !Ups", "# --- !Downs"),
    "play, with --": ("-- !Ups", "-- !Downs"),
    "mybatis": ("-- // Create users", "-- //@UNDO"),
    "dbdeploy": ("--", "--//@UNDO"),
    "dbdeploy without dashes": ("--", "//@UNDO"),
    "tern": ("--", "---- create above / drop below ----"),
    "rambler": ("-- rambler up", "-- rambler down"),
    "migratus": ("--;;up", "--;;down"),
    "shmig": ("-- ==== UP ====", "-- ==== DOWN ===="),
    "the sqlite package of Node": (f"{'-' * 60}\n-- Up\n{'-' * 60}", f"{'-' * 60}\n-- Down\n{'-' * 60}"),
    "Jetbase": ("-- upgrade", "-- rollback"),
    "Mojo": ("-- 1 up (the first)", "-- 1 down"),
    "SQLSpec": ("-- name: migrate-0001-up", "-- name: migrate-0001-down"),
    "Atlas": ("-- atlas:txtar\n\n-- migration.sql --", "-- down.sql --"),
    "Atlas without its head": ("-- migration.sql --", "-- down.sql --"),
    "Sqitch": ("-- Deploy app:users to sqlite", "-- Revert app:users from sqlite"),
    "annotations": ("-- @Up()", "-- @Down()"),
    "hashes": ("-- #UP", "-- #DOWN"),
    "colons": ("-- :up", "-- :down"),
    "brackets": ("-- [up]", "-- [down]"),
    "undo": ("-- DO", "-- UNDO:"),
    "backwards": ("-- forwards", "-- Backwards"),
    "two words for it": ("-- UP", "-- DOWN (rollback)"),
    "a version": ("-- Version 2 up", "-- Version 2 down"),
    "begin": ("-- begin up", "-- begin roll back"),
    "a block": ("/* up */", "/* down */"),
    "a box": ("/***********\n * UP\n ***********/", "/***********\n * DOWN\n ***********/"),
    "our own in a block": ("-- migrate:up", "/* migrate:down */"),
    "our own in a block, with dashes": ("-- migrate:up", "/* -- migrate:down */"),
    "our own in a box": ("/*\n * migrate:up\n */", "/*\n * migrate:down\n */"),
    "our own behind three dashes": ("-- migrate:up", "--- migrate:down"),
    "our own without its colon": ("-- migrate up", "-- migrate down"),
    "our own with another sign": ("-- migrate:up", "-- migrate=down"),
    "our own in the plural": ("-- migrations:up", "-- migrations:down"),
    "our own after a mark that nobody sees": ("-- migrate:up", "\ufeff-- migrate:down"),
    "our own after a hard space": ("-- migrate:up", "--\u00a0migrate:down"),
}  # fmt: skip


def _parse(text: str | bytes, dialect: DialectName, *, down: str | None = None) -> Migration:
    data = text if isinstance(text, bytes) else text.encode()
    sidecar = None if down is None else read_source(down.encode(), file="001_users.down.sql")
    return parse_migration(
        read_source(data, file="001_users.sql"), dialect, set_name="app", down=sidecar
    )


def _refused(text: str | bytes, dialect: DialectName) -> ScriptError:
    with pytest.raises(ScriptError) as caught:
        _parse(text, dialect)
    assert caught.value.file == "001_users.sql" and caught.value.hint
    return caught.value


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("tool", PAIRS)
@pytest.mark.parametrize("form", ["plain", "bom", "crlf", "indented"])
def test_a_down_half_is_never_a_part_of_up(form: str, tool: str, dialect: DialectName) -> None:
    """Whatever tool the file was written for, in whatever bytes: it is refused with a line."""
    up, down = PAIRS[tool]
    lines = [up, UP, "", down, DOWN, ""]
    text = "\n".join(f"  {line}" if form == "indented" else line for line in lines)
    data = text.replace("\n", "\r\n").encode() if form == "crlf" else text.encode()
    error = _refused(b"\xef\xbb\xbf" + data if form == "bom" else data, dialect)
    assert error.line is not None
    assert text.splitlines()[error.line - 1].strip(" \ufeff")[:2] in ("--", "#", "# ", "/*", "//")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "mark",
    [
        "-- +goose StatementBegin",
        "-- +goose NO TRANSACTION",
        "-- +goose ENVSUB ON",
        "-- +migrate StatementEnd",
        "--liquibase formatted sql",
        "-- liquibase formatted sql",
        "--changeset ana:1 dbms:mysql runOnChange:true",
        "-- changeSet ana:create-users",
        "--;;",
        "-- atlas:delimiter \\n\\n",
        "-- checks.sql --",
        "-- no-transaction",
        "-- atlas:txmode none",
        "-- transactional: false",
        "-- transaction:false",
        "-- :disable-transaction",
        "--! no-transaction",
    ],
)
def test_what_else_another_tool_would_obey_is_named(mark: str, dialect: DialectName) -> None:
    """A header or an option of another tool says that the file means more than its SQL."""
    assert _refused(f"{mark}\n{UP}\n", dialect).line == 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "prose",
    [
        "-- Down payments are kept in cents",
        "-- down",
        "-- Up to three addresses a user",
        "-- Up",
        "-- Rollback is done from the backup",
        "-- Undo history, by user",
        "-- Undo the change of 003",
        "-- 50% down",
        "-- no transaction is open here",
        "-- one transaction: false alarms are not stored",
        "-- Revert the change of 004: it was wrong",
        "-- Upgrade of the users table",
        "-- 3 up, 2 down",
        "-- migrated from the old table",
        "-- Migration: users",
        "-- migrate up to three users",
        "-- 001_users.sql",
        "-- down.sql is beside this file",
        "-- the goose file had +goose Down here",
        "-- + up",
        "-- changeset",
        "-- changeset: the first",
        "-- atlas:nolint DS103",
        "-- liquibase knows this table",
        "-- create above",
        "-- @undo_log keeps what was undone",
        "-- Deploy app:users to sqlite",
        "/* A block about the way down.\n-- +goose Down\nDROP TABLE nothing;\n*/",
        "/*\n-- migrate:down\nDROP TABLE nothing;\n*/",
        "-- ===== DOWN =====\n-- DROP TABLE users;",
        "-- Rollback:\n--   DROP TABLE users;\n\n-- The second table",
    ],
)
def test_prose_stays_prose(prose: str, dialect: DialectName) -> None:
    """A comment that merely begins with such a word, or a half that is commented out, is ordinary."""
    last = prose != "-- down"
    text = f"{UP}\n{prose}\n" + ("CREATE TABLE b (id INT);\n" if last else "")
    assert len(_parse(text, dialect).up.steps) == 1 + last
    assert len(_parse(f"{UP} {prose}\n{DOWN}", dialect).up.steps) == 2


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("mark", ["-- +goose Down", "/* migrate:down */", "-- down", "--//@UNDO"])
def test_literals_stay_literals(mark: str, dialect: DialectName) -> None:
    """The text of a template in a row is data."""
    text = f"INSERT INTO t VALUES ('\n{mark}\n', 'it''s\n{mark}\n');\n"
    assert len(_parse(text + text, dialect).up.steps) == 2
    if dialect == "mysql":
        escaped = f"INSERT INTO t VALUES ('\\'\n{mark}\n', \"\n{mark}\n\");\n"
        assert len(_parse(escaped, dialect).up.steps) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_mark_after_a_statement_without_its_end_is_seen(dialect: DialectName) -> None:
    """No semicolon before the mark: it stands inside the statement, and divides all the same."""
    assert _refused("CREATE TABLE a (id INT)\n-- +goose Down\nDROP TABLE a;", dialect).line == 2


def test_a_section_inside_a_statement_is_named() -> None:
    """With another delimiter `-- migrate:down` ends nothing: the routine lacks its end."""
    text = "DELIMITER $$\nCREATE PROCEDURE p() BEGIN SELECT 1; END\n-- migrate:down\nDROP PROCEDURE p$$\n"
    error = _refused(text, "mysql")
    assert (error.line, "inside a statement" in error.message) == (3, True)
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;\n-- migrate:down\nSELECT 2; END;"
    assert _refused(trigger, "sqlite").line == 2
    body = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT '\n-- migrate:down\n'; END;"
    assert len(_parse(body, "sqlite").up.steps) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_down_file_may_say_that_it_is_one(dialect: DialectName) -> None:
    """A revert script of Sqitch, moved beside its migration; a second half of goose's is not."""
    found = _parse(UP, dialect, down=f"-- Revert app:users from sqlite\n\n{DOWN}")
    assert found.down is not None and len(found.down.steps) == 1
    found = _parse(UP, dialect, down=f"-- Down\n{DOWN}")
    assert found.down is not None and len(found.down.steps) == 1
    with pytest.raises(ScriptError):
        _parse(UP, dialect, down=f"-- +goose Up\n{UP}\n-- +goose Down\n{DOWN}")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_marks_of_a_file_are_told_at_once(dialect: DialectName) -> None:
    """Their lines, and what to write in the first one's place."""
    text = f"-- +goose Up\n{UP}\n{UP}\n-- +goose Down\n{DOWN}\n"
    error = _refused(text, dialect)
    assert (error.line, "line 4" in error.message, "goose" in error.message) == (1, True, True)
    assert "-- migrate:up" in error.hint


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_text_that_ran_is_read_as_it_was(dialect: DialectName) -> None:
    """What the ledger keeps of a file that ran before such marks were known can still be undone."""
    ref = MigrationRef(
        set="app", version="001", name="users", checksum="c", sources=(("file", "c"),)
    )
    text = f"-- +goose Up\n{UP}\n-- Down\n{DOWN}\n"
    assert len(from_contents(ref, {"c": text}, dialect).up.steps) == 2


def test_a_heading_over_a_rollback_is_about_that_statement() -> None:
    """It does not undo the migration."""
    text = f"{UP}\nSAVEPOINT a;\n-- Rollback\nROLLBACK TO a;\n"
    assert len(_parse(text, "sqlite").up.steps) == 3
    assert len(_parse("START TRANSACTION;\n-- rollback\nROLLBACK;\n", "mysql").up.steps) == 2
