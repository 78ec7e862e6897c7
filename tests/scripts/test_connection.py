"""What a statement reads of its connection and leaves there, told from its text."""

from __future__ import annotations

import pytest

from ledger.dialects import dialect_of
from ledger.dialects.mysql.connection import diagnostics_asked, uses
from ledger.errors import ScriptError
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import read_source
from tests.engines.work import step


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SET @a = 1, @`b c` := 2, @'d' = 3, @e.f = @@sql_mode", {"a", "b c", "d", "e.f"}),
        ("SELECT 'x@y.de', `m@n`, \"@no\" -- @comment", set()),
        ("GRANT SELECT ON t TO 'ann'@'host'", set()),
        ("/*!40101 SET @OLD = @@sql_mode */", {"old"}),
        ("LOAD DATA INFILE 'f' INTO TABLE t (a, @b) SET c = @b", {"b"}),
        ("PREPARE s FROM 'SELECT 1 INTO @inside'", {"inside"}),
        ("CREATE TRIGGER t AFTER INSERT ON u FOR EACH ROW SET @late = 1", set()),
    ],
)
def test_variables(sql: str, names: set[str]) -> None:
    """Those that it names, and nothing that merely has an @."""
    assert uses(sql).variables == names


def test_what_it_reads_of_the_statement_before() -> None:
    """Each place, and none in a text, a comment or the body of what is only stored."""
    sql = (
        "INSERT INTO t VALUES (ROW_COUNT(), 'ROW_COUNT()', found_rows ( ), @@session.warning_count)"
    )
    assert [sql[one.start : one.end] for one in uses(sql).reads] == [
        "ROW_COUNT()",
        "found_rows ( )",
        "@@session.warning_count",
    ]
    assert not uses("SELECT row_count FROM t /* ROW_COUNT() */").reads
    assert uses("CREATE VIEW v AS SELECT ROW_COUNT()").stored
    asked = diagnostics_asked("GET CURRENT DIAGNOSTICS @a = NUMBER, @b = ROW_COUNT")
    assert asked == (("a", "warnings"), ("b", "rows"))


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SET sql_mode = ''", [("sql_mode", False)]),
        ("SET SESSION a = 1, @@local.b = (SELECT 2), @x = 3", [("a", False), ("b", True)]),
        ("SET @@sql_mode = @old, GLOBAL c = 1, @@global.d = 2", [("sql_mode", True)]),
        ("SET insert_id = 5", [("insert_id", True)]),
        ("SET ROLE r", []),
        ("SET SESSION TRANSACTION READ ONLY", []),
    ],
)
def test_settings(sql: str, found: list[tuple[str, bool]]) -> None:
    """The session's own, and whether running the same SET again would give the same."""
    assert [(one.name, one.computed) for one in uses(sql).settings] == found


@pytest.mark.parametrize(
    "sql",
    [
        "USE other;",
        "DO RELEASE_ALL_LOCKS();",
        "EXECUTE IMMEDIATE 'USE other';",
        "XA START 'x';",
        "/*!40000 USE other */;",
        "GET DIAGNOSTICS CONDITION 1 @t = MESSAGE_TEXT;",
        "LOAD DATA LOW_PRIORITY LOCAL INFILE 'f' INTO TABLE t;",
        "LOAD XML LOCAL INFILE 'f' INTO TABLE t;",
    ],
)
def test_refused_with_its_line(sql: str) -> None:
    """What a run's connection cannot give is refused before anything runs."""
    source = read_source(b"SELECT 1;\n" + sql.encode(), file="001_a.sql")
    with pytest.raises(ScriptError) as refused:
        parse_migration(source, "mysql", set_name="s")
    assert refused.value.line == 2
    assert refused.value.hint


@pytest.mark.parametrize(
    "sql", ["XA START 'x';", "/*!40000 USE other */;", "DO RELEASE_ALL_LOCKS();"]
)
def test_a_text_that_ran_is_not_held_to_it(sql: str) -> None:
    """The ledger's own text of it has to be read, so that it can be undone."""
    source = read_source(b"SELECT 1;\n" + sql.encode(), file="001_a.sql")
    kept = parse_migration(source, "mysql", set_name="s", kept=True)
    assert [step.number for step in kept.up.steps] == [1, 2]


def test_what_a_plan_says() -> None:
    """A step that reads a count which no marker holds at once is named."""
    steps = [step(1, "UPDATE t SET a = 1"), step(2, "SET @n = ROW_COUNT()"),
             step(3, "CREATE TABLE c AS SELECT 1"), step(4, "SET @n = ROW_COUNT()")]  # fmt: skip
    assert [doubt.step.number for doubt in dialect_of("mysql").doubts(steps) if doubt.lost] == [4]
