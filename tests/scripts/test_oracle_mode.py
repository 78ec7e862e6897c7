"""Programs in the manner of MariaDB's ORACLE mode, split without DELIMITER."""

from __future__ import annotations

import pytest

from ledger.dialects.mysql.split import split_mysql
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.statements import classify
from tests.conftest import MakeDatabase
from tests.servers import Server, connect

PROGRAMS = """\
CREATE OR REPLACE PACKAGE pk AS PROCEDURE a; FUNCTION b(x INT) RETURN INT; END;
CREATE OR REPLACE PACKAGE BODY pk COMMENT 'x' IS
  w INT;
  PROCEDURE a AS z INT; BEGIN z := 1; END;
  FUNCTION b(x INT) RETURN INT AS BEGIN RETURN CASE WHEN x = 1 THEN 2 END; END b;
BEGIN w := 1; END pk;
BEGIN INSERT INTO t VALUES (1); END;
BEGIN NOT ATOMIC INSERT INTO t VALUES (1); END;
DECLARE x INT := 1; BEGIN INSERT INTO t VALUES (x); END;
CREATE PROCEDURE p1 AS x INT; BEGIN x := 1; END;
CREATE PROCEDURE p2(a IN INT) IS BEGIN NULL; EXCEPTION WHEN OTHERS THEN NULL; END p2;
CREATE FUNCTION f1(a INT) RETURN VARCHAR2(10) DETERMINISTIC AS
BEGIN IF a > 1 THEN RETURN 1; ELSIF a > 0 THEN RETURN 2; ELSE RETURN 3; END IF; END;
CREATE PROCEDURE p3 AS CURSOR c IS SELECT n FROM t; BEGIN
  FOR i IN 1..3 LOOP INSERT INTO t VALUES (i); END LOOP; FOR r IN c LOOP NULL; END LOOP;
  WHILE 1 > 2 LOOP NULL; END LOOP; <<l>> LOOP EXIT l WHEN 1 = 1; END LOOP l; LOOP EXIT; END LOOP;
END;
CREATE PROCEDURE p4 AS BEGIN DECLARE y INT; BEGIN NULL; END; END;
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW DECLARE a INT; BEGIN :NEW.n := 1; END;
CREATE FUNCTION f2(a INT) RETURN INT IS x INT := 0;
BEGIN REPEAT x := x + 1; UNTIL x > 2 END REPEAT; GOTO e; <<e>> RETURN x; END f2;
CREATE PROCEDURE `p;5`() SQL SECURITY INVOKER AS y INT; BEGIN NULL; END;
"""
OTHERS = (
    "CREATE TABLE package (a INT) AS SELECT 1 AS a",
    "CREATE TABLE `function` (a INT) AS SELECT 1 AS a",
    "CREATE PROCEDURE q() UPDATE t SET a = 1 WHERE b IS NULL",
    "CREATE FUNCTION g(a INT) RETURNS INT RETURN a IS NULL",
    "CREATE FUNCTION h(a INT) RETURNS INT LANGUAGE JAVASCRIPT AS $$ return a; $$",
    "CREATE PROCEDURE r() SELECT 1 AS a",
    "CREATE VIEW procedures AS SELECT 1 AS a",
    "BEGIN",
    "BEGIN WORK",
    "SELECT 1",
)


def test_the_server_takes_what_is_split(mariadb: Server, make_database: MakeDatabase) -> None:
    """Each piece is one whole statement to MariaDB."""
    found = split_mysql(PROGRAMS, file="f.sql").statements
    assert len(found) == 13
    with connect(mariadb, database=make_database(mariadb)) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (n INT)")
        cursor.execute("SET sql_mode = 'ORACLE'")
        for one in found:
            cursor.execute(one.sql)


def test_what_only_looks_like_it() -> None:
    """Names and aliases open no body, and a transaction's BEGIN is none."""
    found = split_mysql("; ".join(OTHERS), file="f.sql").statements
    assert tuple(one.sql for one in found) == OTHERS


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("BEGIN INSERT INTO t VALUES (1); END", "call"),
        ("BEGIN NOT ATOMIC SELECT 1; END", "call"),
        ("DECLARE x INT; BEGIN NULL; END", "call"),
        ("BEGIN", "transaction"),
        ("BEGIN WORK", "transaction"),
    ],
)
def test_a_block_is_no_transaction(sql: str, kind: str) -> None:
    """What a block does is not known; nothing begins with it that a COMMIT would have to end."""
    assert classify(sql, SYNTAX).kind == kind
