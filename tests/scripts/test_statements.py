"""What single statements are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.dialects import DialectName, dialect_of
from ledger.dialects.wording import label, reason

LABELS = [
    ("sqlite", "create temp table if not exists main.t (a)", "CREATE TEMPORARY TABLE main.t", ("main.t",)),
    ("sqlite", 'CREATE UNIQUE INDEX "i x" ON [t y] (a)', "CREATE UNIQUE INDEX i x ON t y", ("t y",)),
    ("sqlite", "CREATE TRIGGER g AFTER UPDATE OF a, b ON t BEGIN SELECT 1; END", "CREATE TRIGGER g ON t", ("g", "t")),
    ("sqlite", "ALTER TABLE a RENAME TO b", "ALTER TABLE a RENAME TO b", ("a", "b")),
    ("sqlite", "ALTER TABLE a RENAME x TO y", "ALTER TABLE a RENAME x", ("a",)),
    ("sqlite", "INSERT OR REPLACE INTO t VALUES ('secret')", "INSERT INTO t", ()),
    ("sqlite", "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "INSERT INTO t", ()),
    ("sqlite", "CREATE VIRTUAL TABLE f USING fts5(a)", "CREATE TABLE f", ("f",)),
    ("mysql", "ALTER TABLE t ADD COLUMN c INT DEFAULT 1, DROP KEY k", "ALTER TABLE t ADD COLUMN c …", ("t",)),
    ("mysql", "alter online table `t` add `c` int", "ALTER TABLE t ADD c", ("t",)),
    ("mysql", "ALTER TABLE t RENAME u, RENAME COLUMN a TO b", "ALTER TABLE t RENAME u …", ("t", "u")),
    ("mysql", "CREATE ALGORITHM=MERGE DEFINER=`r`@`%` SQL SECURITY INVOKER VIEW v AS SELECT 1",
     "CREATE VIEW v", ("v",)),
    ("mysql", "CREATE DEFINER = CURRENT_USER() PROCEDURE p() SELECT 1", "CREATE PROCEDURE p", ("p",)),
    ("mysql", "/*!50003 CREATE*/ /*!50017 DEFINER=a@b*/ /*!50003 TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET @a=1 */",
     "CREATE TRIGGER g ON t", ("g", "t")),
    ("mysql", "DROP TABLE IF EXISTS a, `b c`, d.e", "DROP TABLE a, b c, d.e", ("a", "b c", "d.e")),
    ("mysql", "DROP INDEX i ON t", "DROP INDEX i ON t", ("t",)),
    ("mysql", "RENAME TABLE a TO b, c TO d", "RENAME TABLE a TO b …", ("a", "b", "c", "d")),
    ("mysql", "TRUNCATE {prefix}t", "TRUNCATE TABLE {prefix}t", ("{prefix}t",)),
    ("mysql", "ALTER EVENT e RENAME TO f", "ALTER EVENT e", ("e", "f")),
    ("mysql", "CREATE USER x IDENTIFIED BY 'secret'", "CREATE USER x", ()),
    ("mysql", "SET PASSWORD = 'secret'", "SET", ()),
    ("mysql", "CREATE OR REPLACE SQL SECURITY INVOKER JSON RELATIONAL DUALITY VIEW v AS SELECT 1",
     "CREATE OR REPLACE VIEW v", ("v",)),
    ("mysql", "CREATE JSON DUALITY VIEW IF NOT EXISTS v AS SELECT 1", "CREATE VIEW v", ("v",)),
    ("mysql", "ALTER JSON DUALITY VIEW v AS SELECT 1", "ALTER VIEW v", ("v",)),
    ("mysql", "CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE VIEW v", ("v",)),
    ("mysql", "CREATE OR REPLACE VECTOR INDEX i ON t (v)", "CREATE OR REPLACE INDEX i ON t", ("t",)),
    ("mysql", "CREATE LIBRARY l LANGUAGE JAVASCRIPT AS $$ x $$", "CREATE LIBRARY l", ("l",)),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "sql", "name", "touched"), LABELS)
def test_statements_are_named_and_their_objects_found(
    dialect: DialectName, sql: str, name: str, touched: tuple[str, ...]
) -> None:
    """The label names the statement without its literals; touched are the objects it changes."""
    found = dialect_of(dialect).classify(sql)
    assert (label(found), found.touched) == (name, touched)


@pytest.mark.parametrize(
    "sql",
    [
        "CALL p()", "EXECUTE s", "BEGIN NOT ATOMIC SELECT 1; END", "CREATE OR REPLACE TABLE t (a INT)",
        "DROP TABLE a, b", "DROP DATABASE d", "RENAME TABLE a TO b, c TO d", "TRUNCATE TABLE t",
        "LOAD DATA INFILE 'x' INTO TABLE t", "CREATE TEMPORARY TABLE t (a INT)", "CREATE USER u",
        "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", "SHUTDOWN", "NOT SQL AT ALL",
        "ALTER TABLE t DISCARD PARTITION p TABLESPACE", "CREATE TEMPORARY TABLE IF NOT EXISTS t (a INT)",
        "CREATE OR REPLACE TEMPORARY TABLE t (a INT)", "CREATE OR REPLACE DATABASE d", "START REPLICA",
        "SELECT NEXTVAL(s)", "SELECT a, NEXT VALUE FOR `s` FROM t", "SELECT s.nextval FROM DUAL", "DO SETVAL(s, 5)",
        "SET @a = 1, @b = (SELECT NEXTVAL(d.s))", "SELECT * FROM t INTO OUTFILE 'x'", "TABLE t INTO DUMPFILE 'x'",
        "(SELECT 1 INTO OUTFILE 'x')", "WITH x AS (SELECT 1) SELECT * FROM x INTO OUTFILE 'f'",
        "CREATE OR REPLACE SEQUENCE s", "ALTER SEQUENCE IF EXISTS s RESTART 5", "REVOKE SELECT ON t FROM u",
        "CREATE EVENT IF NOT EXISTS e ON SCHEDULE AT NOW() DO SELECT 1",
        "ALTER EVENT e ON SCHEDULE AT NOW() DO SELECT 2",
        "CREATE OR REPLACE EVENT e ON SCHEDULE AT NOW() ON COMPLETION NOT PRESERVE DO SELECT 1",
        "SET GLOBAL a = @@GLOBAL.a * 2", "SET PERSIST a = f(1)", "SET PASSWORD = 'x' REPLACE 'y'",
        "ALTER USER u IDENTIFIED BY 'x' RETAIN CURRENT PASSWORD", "ALTER USER u IDENTIFIED BY RANDOM PASSWORD",
        "CREATE FUNCTION f RETURNS INT SONAME 'f.so'", "CREATE TABLESPACE s ADD DATAFILE 'x'",
        "CREATE SPATIAL REFERENCE SYSTEM 4120 NAME 'x'", "SET STATEMENT a = 1 FOR CALL p()",
    ],
)  # fmt: skip
def test_what_cannot_be_settled_says_why(sql: str) -> None:
    """Statements after which a crash leaves doubt are named, with the reason."""
    found = dialect_of("mysql").classify(sql)
    assert not found.settleable and not found.redo_safe
    assert reason(found)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE IF NOT EXISTS t (a INT)", "DROP TABLE IF EXISTS a, b", "CREATE OR REPLACE VIEW v AS SELECT 1",
        "CREATE OR REPLACE PROCEDURE p() SELECT 1", "DROP DATABASE IF EXISTS d", "SET @a = 1", "SELECT 1",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT, DROP KEY IF EXISTS k", "ANALYZE TABLE t",
        "ALTER VIEW v AS SELECT 2", "EXPLAIN SELECT NEXTVAL(s)", "ANALYZE NO_WRITE_TO_BINLOG TABLE t",
        "SELECT 'NEXTVAL(s)', `OUTFILE` /* f() */ FROM t", "SELECT nextval FROM t", "SET @a = CONCAT('f(', 1, ')')",
        "SET GLOBAL a = 1, b = 'x'", "SET PERSIST_ONLY a = ON", "SET PASSWORD = 'x'", "SET DEFAULT ROLE ALL TO u",
        "ALTER USER u IDENTIFIED BY 'x'", "ALTER SEQUENCE s INCREMENT BY 2", "REVOKE IF EXISTS SELECT ON t FROM u",
        "CREATE EVENT IF NOT EXISTS e ON SCHEDULE EVERY 1 DAY DO SELECT 1", "LOAD INDEX INTO CACHE t",
        "CREATE EVENT IF NOT EXISTS e ON SCHEDULE AT NOW() ON COMPLETION PRESERVE DO SELECT 1",
        "ALTER TABLE t ADD INDEX IF NOT EXISTS (a)", "ALTER TABLE t ADD COLUMN IF NOT EXISTS (a INT, b INT)",
        "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY IF NOT EXISTS (a) REFERENCES p (id)",
        "ALTER TABLE t ADD FOREIGN KEY IF NOT EXISTS k (a) REFERENCES p (id)", "REVOKE IF EXISTS r FROM u",
        "ALTER TABLE t CHANGE COLUMN IF EXISTS a b INT, DROP COLUMN IF EXISTS c", "SET STATEMENT a = 1 FOR SELECT 1",
        "CREATE TABLE IF NOT EXISTS t (a INT DEFAULT NEXTVAL(s))", "CREATE LIBRARY IF NOT EXISTS l LANGUAGE JAVASCRIPT",
    ],
)  # fmt: skip
def test_what_may_be_repeated_is_redo_safe(sql: str) -> None:
    """Running these twice is running them once."""
    found = dialect_of("mysql").classify(sql)
    assert found.redo_safe and found.settleable


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE t ADD FOREIGN KEY IF NOT EXISTS (a) REFERENCES p (id)",
        "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY IF NOT EXISTS i (a) REFERENCES p (id)",
        "ALTER TABLE t ADD CONSTRAINT IF NOT EXISTS CHECK (a > 0)",
        "ALTER TABLE t DROP COLUMN IF EXISTS a, ADD COLUMN IF NOT EXISTS A INT",
        "ALTER TABLE t CHANGE COLUMN IF EXISTS a b INT, ADD COLUMN IF NOT EXISTS a INT",
        "ALTER TABLE t RENAME COLUMN IF EXISTS a TO b, RENAME COLUMN IF EXISTS b TO a",
        "ALTER TABLE t RENAME INDEX IF EXISTS a TO b, ADD INDEX IF NOT EXISTS (c)",
        "ALTER TABLE IF EXISTS t ADD COLUMN a INT", "ALTER TABLE t ADD COLUMN a INT COMMENT 'IF NOT EXISTS'",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT, ENGINE = InnoDB", "ALTER EVENT e RENAME TO f",
        "CREATE TABLE IF NOT EXISTS t SELECT 1", "CREATE TABLE IF NOT EXISTS t (a INT) AS (SELECT f())",
        "CREATE TABLE IF NOT EXISTS t AS VALUES ROW(1)",
        "SELECT f()", "DO d.f(1)", "SET @a = `f` ()", "INSERT IGNORE INTO t VALUES (1)", "REPLACE INTO t VALUES (1)",
        "SET STATEMENT a = 1 FOR UPDATE t SET n = n + 1", "ANALYZE FORMAT = JSON UPDATE t SET n = n + 1",
        "EXPLAIN ANALYZE DELETE FROM t", "DESCRIBE ANALYZE SELECT f()",
    ],
)  # fmt: skip
def test_what_only_looks_repeatable_is_not(sql: str) -> None:
    """A second run changes something more; whether the first one landed can be told."""
    found = dialect_of("mysql").classify(sql)
    assert not found.redo_safe and found.settleable


@pytest.mark.parametrize(
    ("sql", "destructive"),
    [
        ("DROP TABLE t", True), ("ALTER TABLE t DROP COLUMN c", True), ("ALTER TABLE t DROP `c`", True),
        ("ALTER TABLE t ADD a INT, DROP b", True), ("TRUNCATE t", True), ("DELETE FROM t", True),
        ("UPDATE t SET a = (SELECT 1 FROM u WHERE b)", True), ("DROP DATABASE d", True),
        ("ALTER TABLE t DROP KEY k", False), ("ALTER TABLE t DROP FOREIGN KEY k", False),
        ("ALTER TABLE t ALTER c DROP DEFAULT", False), ("DELETE FROM t WHERE a", False),
        ("UPDATE t SET a = 'x' WHERE b", False), ("DROP VIEW v", False), ("DROP TEMPORARY TABLE t", False),
        ("INSERT INTO t VALUES ('DROP TABLE t')", False), ("SELECT 1 -- DROP TABLE t", False),
    ],
)  # fmt: skip
def test_what_drops_data_is_destructive(sql: str, destructive: bool) -> None:
    """Tables, columns and all rows; not indexes, constraints, views or some rows."""
    assert dialect_of("mysql").classify(sql).destructive is destructive


@given(st.text(), st.sampled_from(["sqlite", "mysql"]))
def test_any_text_is_classified(text: str, dialect: DialectName) -> None:
    """Nothing makes the classification fail, and doubt is never resolved in a text's favour."""
    found = dialect_of(dialect).classify(text)
    assert label(found)
    assert found.settleable or reason(found)
