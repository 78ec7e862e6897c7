"""Files of named queries: what is read from them, and that nothing but a query gets through."""

from __future__ import annotations

import pytest

from ledger.dialects import DialectName, dialect_of
from ledger.errors import ScriptError
from ledger.scripts.queries import bind_query, is_query, parse_queries
from ledger.scripts.source import read_source

FILE = """\
-- What the front page asks.
-- query: by name
SELECT * FROM {prefix}users WHERE name = 'a;b';

-- query: newest first
WITH newest AS (SELECT id FROM {prefix}users ORDER BY id DESC LIMIT 5)
SELECT * FROM newest
"""
BOTH: tuple[DialectName, DialectName] = ("sqlite", "mysql")


@pytest.mark.parametrize("dialect", BOTH)
def test_names_lines_and_placeholders(dialect: DialectName) -> None:
    """Each query with its name and line; placeholders are bound, and unknown ones named with file and line."""
    queries = parse_queries(read_source(FILE.encode(), file="q.sql"), dialect)
    assert [(one.name, one.line) for one in queries] == [("by name", 3), ("newest first", 6)]
    bound = bind_query(queries[0], {"prefix": "wp_"}, dialect)
    assert bound.sql == "SELECT * FROM wp_users WHERE name = 'a;b'"
    with pytest.raises(ScriptError, match="has no value") as caught:
        bind_query(queries[1], {"other": "x"}, dialect)
    assert (caught.value.file, caught.value.line) == ("q.sql", 6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT 1;", "no name"),
        ("-- query: a\n-- query: b\nSELECT 1;", "'a' has no query"),
        ("-- query: a\nSELECT 1;\n-- query: a\nSELECT 2;", "two queries are named 'a'"),
        ("-- query: a\nUPDATE users SET x = 1;", "'a' is not a SELECT"),
        ("-- query: a\n", "holds no query"),
    ],
)
@pytest.mark.parametrize("dialect", BOTH)
def test_what_is_wrong_is_refused(dialect: DialectName, text: str, said: str) -> None:
    """Refused before anything runs, with the file."""
    with pytest.raises(ScriptError, match=said) as caught:
        parse_queries(read_source(text.encode(), file="q.sql"), dialect)
    assert caught.value.file == "q.sql"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "  select 'INSERT INTO x' AS a",
        "/* why */ -- and how\n SELECT `into` FROM t",
        "(SELECT 1) UNION (SELECT 2)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
    ],
)
def test_queries(sql: str) -> None:
    """They read."""
    assert all(is_query(sql, dialect_of(dialect)) for dialect in BOTH)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM t",
        "/*! DELETE FROM t */",
        "/*!50000 DELETE FROM t */ SELECT 1",
        "/*M! DELETE FROM t */ SELECT 1",
        "ANALYZE SELECT 1",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
        "SELECT * FROM t INTO OUTFILE '/tmp/x'",
        "SELECT 1 INTO @x",
        "PRAGMA user_version = 3",
        "",
    ],
)
def test_no_queries(sql: str) -> None:
    """They write, or may."""
    assert not is_query(sql, dialect_of("mysql"))
