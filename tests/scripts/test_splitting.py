"""Both splitters against their oracles: SQLite's own function, and what was joined."""

from __future__ import annotations

import re
import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.dialects.mysql.split import split_mysql
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.sqlite.split import split_sqlite
from ledger.dialects.statements import classify
from ledger.errors import ScriptError

# What decides about a split, in every order, with whatever stands between.
PIECES = st.sampled_from(
    [
        ";", ";;", " ", "\n", "\t", "\f", "CREATE", "create", "TEMP", "TEMPORARY", "TRIGGER", "trigger",
        "END", "end", "EXPLAIN", "QUERY PLAN", "BEGIN", "SELECT", "x", "_END", "END1", "ENDé", "é",
        "'a;b'", "'it''s'", '"q;"', "`b;`", "[c;]", "'", '"', "`", "[", "]", "-", "--", "-- c;\n", "--c",
        "/*", "*/", "/* c; */", "/**/", "/***/", "/*;*", "/", "*", "(", ")", "$", "1", "\v", ".",
    ]
)  # fmt: skip
BLANKS = " \t\n\f\r"
LEAD = re.compile(r"(?:[ \t\n\f\r;]+|--[^\n]*|/\*.*?\*/)*", re.DOTALL)


def _naive(text: str) -> tuple[list[str], str]:
    """SQLite's own word: complete_statement tried at each `;`. The statements, and what is left."""
    statements = []
    start = 0
    for position, char in enumerate(text):
        if char == ";" and sqlite3.complete_statement(text[start : position + 1]):
            statements.append(text[start : position + 1])
            start = position + 1
    return statements, text[start:]


def _bare(statement: str) -> str:
    """Without the comments before it and its semicolon."""
    return statement[LEAD.match(statement).end() :].removesuffix(";").rstrip(BLANKS)  # type: ignore[union-attr]


@settings(max_examples=600)
@given(st.lists(PIECES, max_size=24).map("".join))
@example(
    "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; END; SELECT 1;"
)
@example("EXPLAIN CREATE TRIGGER t BEGIN SELECT 1; END; SELECT 2;")
@example("CREATE TRIGGER a; ; END /* c */ ; SELECT 1;")
@example("CREATE/**/TRIGGER a BEGIN ;END x; END; a;")
def test_sqlite_splits_where_sqlite_itself_would(text: str) -> None:
    """For every text: the same statements as complete_statement at each `;`, or a refusal."""
    statements, rest = _naive(text)
    expected = [bare for bare in map(_bare, statements) if bare]
    try:
        found = [one.sql for one in split_sqlite(text, file="f.sql").statements]
    except ScriptError:
        # Refused is only what the naive method cannot finish either, or a shell command.
        complete = not LEAD.sub("", rest, count=1)
        assert not complete or any(bare.startswith(".") for bare in expected)
        return
    tail = found[len(expected) :]
    left = rest.strip(BLANKS)
    assert found[: len(expected)] == expected
    assert len(tail) <= 1
    assert all(left.endswith(one) for one in tail)


SQLITE_STATEMENTS = st.sampled_from(
    [
        "SELECT 1",
        "SELECT ';', \"a;b\", [c;d], `e;f` -- end; here\n",
        "CREATE TABLE t (a TEXT DEFAULT '--', b /* ; */ INTEGER)",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 1; END",
        "create temp trigger y after delete on t begin select ';end;'; end",
        "INSERT INTO t VALUES ('it''s', 'END;', '''')",
        "PRAGMA foreign_keys = OFF",
    ]
)
GAPS = st.sampled_from(["", " ", "\n", "\n\n-- it's; a comment\n", "/* 'x'; \" */", ";", " ;; \n"])


@given(st.lists(st.tuples(GAPS, SQLITE_STATEMENTS)))
def test_sqlite_gives_back_what_was_joined(parts: list[tuple[str, str]]) -> None:
    """Joined with semicolons and any comments between, the statements and their lines come back."""
    text = ""
    lines = []
    for gap, sql in parts:
        text += gap
        lines.append(text.count("\n") + 1)
        text += f"{sql};"
    script = split_sqlite(text, file="f.sql")
    assert [one.sql for one in script.statements] == [sql.rstrip() for _, sql in parts]
    assert [one.line for one in script.statements] == lines


MYSQL_STATEMENTS = st.sampled_from(
    [
        "SELECT 1",
        "SELECT 'a;b', \"c;d\", `e;f`, 'it\\'s', 'x\\\\', \"\\\";\"",
        "SELECT 5--1, 2/3, 4 - -5, 'a''b'",
        "INSERT INTO t VALUES ('-- no', '# no', '/* no')",
        "/*!40101 SET NAMES utf8mb4 */",
        "SELECT /*+ NO_ICP(t) */ 1",
        "SELECT /*+ SET_VAR(sql_mode='a;b') it's -- \n */ 1",
        "/*+ a; b */ SELECT 1",
        "SELECT 1 # a comment; here\n",
        "SELECT 1 -- a 'comment; here\n",
        'SELECT /* a "comment; */ 1',
    ]
)
MYSQL_GAPS = st.sampled_from(["", " ", "\n", "\n-- it's;\n", "\n#it's;\n", "/* 'x'; */", "\n--x\n"])
DELIMITERS = st.sampled_from([";", "$$", "//", ";;", "|", "@", "END_OF_IT", "~^~"])


@given(st.lists(st.tuples(MYSQL_GAPS, MYSQL_STATEMENTS, DELIMITERS)))
def test_mysql_gives_back_what_was_joined(parts: list[tuple[str, str, str]]) -> None:
    """Under any delimiter that a statement does not hold, the statements and lines come back."""
    text = ""
    current = ";"
    expected = []
    lines = []
    for gap, sql, wanted in parts:
        # A delimiter that the statement holds, or that begins with its end, would split it earlier.
        delimiter = wanted if (sql + wanted).find(wanted) == len(sql) else "$$"
        if delimiter != current:
            text += f"\nDELIMITER {delimiter}\n"
            current = delimiter
        if current in gap:
            gap = "\n"
        text += gap
        lines.append(text.count("\n") + 1)
        text += sql + current
        expected.append(sql.rstrip())
    script = split_mysql(text, file="f.sql")
    assert [one.sql for one in script.statements] == expected
    assert [one.line for one in script.statements] == lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 'a\\\nb';", ["SELECT 'a\\\nb'"]),
        ("SELECT 1\\\n+ 2;", ["SELECT 1\n+ 2"]),
        ("SELECT `a\\`;", ["SELECT `a\\`"]),
        ("SELECT 1--\n;", ["SELECT 1--"]),
        ("DELIMITER ;;\nSELECT 1; SELECT 2;;\nDelimiter ;\nSELECT 3;", ["SELECT 1; SELECT 2", "SELECT 3"]),
        ("DELIMITER '$'\nSELECT 1$", ["SELECT 1"]),
        ("DELIMITER #\nSELECT 1#SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("/*;*/;-- x;\n# y;\n", []),
        ("SELECT 1 /*! , 2; */;", ["SELECT 1 /*! , 2", "*/"]),
        ("SELECT delimiter FROM t;", ["SELECT delimiter FROM t"]),
        ("SELECT 'x\nDELIMITER $$\n';", ["SELECT 'x\nDELIMITER $$\n'"]),
        ("SELECT a.\nuse FROM t;", ["SELECT a.\nuse FROM t"]),
    ],
)  # fmt: skip
def test_mysql_follows_the_clients_rules(text: str, expected: list[str]) -> None:
    """Each rule of the client that is easy to get wrong."""
    assert [one.sql for one in split_mysql(text, file="f.sql").statements] == expected


BODIES = (
    "CREATE PROCEDURE p() BEGIN SET @x = CASE WHEN 1 THEN 2 END; IF @x THEN SELECT IF(1, 2, 3);"
    " ELSEIF 1 THEN SELECT 2; END IF; END",
    "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW IF NEW.a > 1 THEN SET NEW.a = 1; END IF",
    "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW SET NEW.a = IF(NEW.b, 1, 2)",
    "CREATE PROCEDURE IF NOT EXISTS p() SELECT CASE WHEN 1 THEN 2 END",
    "CREATE FUNCTION f(a INT) RETURNS INT DETERMINISTIC BEGIN DECLARE EXIT HANDLER FOR NOT FOUND BEGIN"
    " SET @a = 1; END; l: LOOP LEAVE l; END LOOP l; WHILE a < 1 DO SET a = a + 1; END WHILE;"
    " REPEAT SET a = 2; UNTIL a END REPEAT; CASE a WHEN 1 THEN SELECT 1; ELSE BEGIN END; END CASE;"
    " RETURN CASE a WHEN 1 THEN REPEAT('x', 3) ELSE IF(a, 2, 3) END; END",
    "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN DROP TABLE IF EXISTS x; IF EXISTS (SELECT 1) THEN"
    " DELETE FROM t; END IF; END",
    "/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN"
    " SET NEW.a = ';'; END */",
    "BEGIN NOT ATOMIC DECLARE x INT; SET x = 1; END",
    "FOR i IN 1..3 DO SELECT i; END FOR",
    "CREATE FUNCTION j() RETURNS INT LANGUAGE JAVASCRIPT AS $$ let a = ';'; return \"it's\"; $$",
    "CREATE LIBRARY l LANGUAGE JAVASCRIPT AS $js$ export const a = `$$;`; /* it's */ $js$",
    "SELECT a$$b",
)


@pytest.mark.parametrize("body", BODIES)
def test_a_body_goes_to_its_end_without_delimiter(body: str) -> None:
    """It is one statement, and the next begins after it; the same with DELIMITER."""
    plain = split_mysql(f"{body};\nSELECT 2;\n-- migrate:down\nSELECT 3;", file="f.sql").statements
    assert [one.sql for one in plain] == [body, "SELECT 2", "SELECT 3"]
    marked = split_mysql(f"DELIMITER ~~\n{body}~~\nDELIMITER ;\nSELECT 2;", file="f.sql").statements
    assert [one.sql for one in marked] == [body, "SELECT 2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BEGIN; SELECT 1; COMMIT", ["BEGIN", "SELECT 1", "COMMIT"]),
        ("CREATE TABLE begin (a INT); SELECT 1", ["CREATE TABLE begin (a INT)", "SELECT 1"]),
        ("CREATE INDEX i ON t (a); DROP TABLE IF EXISTS t;", ["CREATE INDEX i ON t (a)", "DROP TABLE IF EXISTS t"]),
    ],
)  # fmt: skip
def test_what_only_looks_like_a_body(text: str, expected: list[str]) -> None:
    """Ends where it always did."""
    assert [one.sql for one in split_mysql(text, file="f.sql").statements] == expected


@pytest.mark.parametrize(
    "body", ["IF 1 THEN SELECT 1; SELECT 2;", "BEGIN SELECT 1;\n-- migrate:down\nSELECT 1; END;"]
)
def test_a_body_that_is_never_closed(body: str) -> None:
    """Refused up front, with the line that it starts on."""
    with pytest.raises(ScriptError, match="never closed") as refused:
        split_mysql(f"SELECT 1;\nCREATE PROCEDURE p() {body}", file="f.sql")
    assert refused.value.line == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT 'a\\'; SELECT 2", ["SELECT 'a\\'", "SELECT 2"]),
        ("/*!40101 SET @OLD=@@SQL_MODE, SQL_MODE='X,NO_BACKSLASH_ESCAPES' */; SELECT 'a\\';"
         " SET sql_mode = @old; SELECT 'a\\';'", ["SELECT 'a\\'", "SET sql_mode = @old", "SELECT 'a\\';'"]),
        ("SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES'); SELECT \"a\\\"; SELECT 'b\\';'",
         ["SELECT \"a\\\"", "SELECT 'b\\';'"]),
        ("SET @@session.sql_mode := ansi; SELECT \"a\\\"; SET sql_mode = DEFAULT; SELECT \"a\\\";\"",
         ["SELECT \"a\\\"", "SET sql_mode = DEFAULT", "SELECT \"a\\\";\""]),
        ("SET sql_mode = 1048576; SELECT '\\'; SET sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '');"
         " SELECT '\\';'", ["SELECT '\\'", "SET sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')",
                           "SELECT '\\';'"]),
        ("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT '\\';'", ["SELECT '\\';'"]),
        ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT '\\';\n-- migrate:down\nSELECT '\\';';",
         ["SELECT '\\'", "SELECT '\\';'"]),
    ],
)  # fmt: skip
def test_the_files_own_sql_mode(text: str, expected: list[str]) -> None:
    """What a backslash and a double quote mean is as the server reads them; a section starts anew."""
    assert [one.sql for one in split_mysql(text, file="f.sql").statements][1:] == expected


def test_mysql_without_backslash_escapes() -> None:
    """Under NO_BACKSLASH_ESCAPES a backslash before a quote is a backslash."""
    text = "SELECT 'a\\'; SELECT 2;"
    found = split_mysql(text, file="f.sql", modes=frozenset({"NO_BACKSLASH_ESCAPES"}))
    assert [one.sql for one in found.statements] == ["SELECT 'a\\'", "SELECT 2"]
    with pytest.raises(ScriptError, match="never ends"):
        split_mysql(text, file="f.sql")


@pytest.mark.parametrize(
    "unit",
    [
        "SELECT 1;\n",
        ";",
        "-- c\n",
        "'a",
        "(",
        "/* c */",
        "CREATE TRIGGER x BEGIN\n;",
        "-",
        "END;",
        "\\N",
    ],
)
def test_a_long_text_is_split_in_linear_time(unit: str) -> None:
    """Half a megabyte of anything are split, or refused, within the test's time limit."""
    text = unit * (500_000 // len(unit))
    for split in (split_sqlite, split_mysql):
        try:
            split(text, file="f.sql")
        except ScriptError as error:
            assert error.line


def test_a_call_behind_a_backslash_that_escapes_nothing() -> None:
    """Under NO_BACKSLASH_ESCAPES a literal ends where the server ends it, also for what reads its tokens."""
    text = "SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT 'C:\\', f('#'); SET sql_mode = ''; SELECT '\\', f('#')"
    statements = split_mysql(text, file="a.sql").statements
    assert [classify(one.readable, SYNTAX).calls for one in statements] == [(), ("f",), (), ()]
    assert statements[1].sql == "SELECT 'C:\\', f('#')"
