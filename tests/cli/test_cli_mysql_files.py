"""Files as people write them for MySQL and MariaDB, from the command line to the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_cli_mysql import address, configure
from tests.servers import Server, query

MakeDatabase = Callable[..., str]

PROGRAMS = """\
CREATE TABLE notes (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40), n INT);
CREATE PROCEDURE fill(IN most INT)
BEGIN
  DECLARE i INT DEFAULT CASE WHEN most > 0 THEN 1 END;
  WHILE i <= most DO
    IF MOD(i, 2) = 0 THEN INSERT INTO notes (name, n) VALUES (IF(i > 2, 'b', 'a'), i); END IF;
    SET i = i + 1;
  END WHILE;
END;
CREATE TRIGGER notes_new BEFORE INSERT ON notes FOR EACH ROW
  IF NEW.n > 3 THEN SET NEW.n = 3; END IF;
CALL fill(4);
-- migrate:down
DROP PROCEDURE fill;
DROP TABLE notes;
"""
MODES = """\
SET @old = @@sql_mode, sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES';
CREATE TABLE "pa;ths" (id INT PRIMARY KEY, "path;" VARCHAR(40));
INSERT INTO "pa;ths" VALUES (1, 'C:\\');
INSERT INTO "pa;ths" VALUES (2, 'D:\\'), (3, ';');
SET sql_mode = @old;
INSERT INTO `pa;ths` VALUES (4, 'it\\'s;');
ALTER TABLE `pa;ths` ADD n INT;
"""


class Place:
    """A folder with one migration for one tenant."""

    def __init__(self, terminal: Terminal, server: Server, database: str, text: str) -> None:
        self.terminal, self.server, self.database = terminal, server, database
        terminal.write("migrations/app/001_a.sql", text)
        tenants = f'mysql = "{address(server)}"\ndatabases = ["{database}"]'
        self.env = configure(terminal, server, tenants)

    def run(self, *words: str) -> tuple[int, str]:
        """The exit code, and all that was said."""
        ended = self.terminal.run(*words, env=self.env)
        return ended.code, ended.out + ended.err

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """What the tenant holds."""
        return list(query(self.server, sql, database=self.database))


@pytest.fixture
def place(
    sql_server: Server, make_database: MakeDatabase, terminal: Terminal
) -> Callable[[str], Place]:
    """`place(text)`: the one migration is `text`."""
    return lambda text: Place(terminal, sql_server, make_database(sql_server), text)


def test_routines_without_delimiter(place: Callable[[str], Place]) -> None:
    """Their bodies run to their END, forward and back."""
    here = place(PROGRAMS)
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 0, said
    assert here.rows("SELECT name, n FROM notes ORDER BY id") == [("a", 2), ("b", 3)]
    code, said = here.run("rollback", "--all-tenants", "-y")
    assert code == 0, said
    assert here.rows("SHOW PROCEDURE STATUS WHERE Db = DATABASE()") == []


def test_a_files_own_sql_mode(place: Callable[[str], Place]) -> None:
    """What it sets decides what its quotes mean, here as at the server."""
    here = place(MODES)
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 0, said
    found = here.rows("SELECT `path;` FROM `pa;ths` ORDER BY id")
    assert found == [("C:\\",), ("D:\\",), (";",), ("it's;",)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t;", "LOCAL"),
        ("/*!40000 USE mysql */;", "USE"),
        ("CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW IF NEW.a THEN SET NEW.a = 1;", "never closed"),
    ],
)  # fmt: skip
def test_refused_before_anything_runs(place: Callable[[str], Place], text: str, word: str) -> None:
    """By file and line, with what to write instead; no table of the file was made."""
    here = place(f"CREATE TABLE x (a INT);\n{text}\n")
    for command in (("plan",), ("migrate", "--all-tenants", "-y")):
        code, said = here.run(*command)
        assert code == 2, said
        assert "001_a.sql:2" in said
        assert word in said
    assert here.rows("SHOW TABLES") == []


def test_the_plan_names_what_a_new_connection_would_lack(place: Callable[[str], Place]) -> None:
    """A count that no marker can hold in time, and a temporary table; not what is kept."""
    here = place(
        "CREATE TABLE x (a INT);\nINSERT INTO x VALUES (1);\nSET @n = ROW_COUNT();\n"
        "CREATE TABLE y AS SELECT * FROM x;\nSET @m = ROW_COUNT();\n"
        "CREATE TEMPORARY TABLE z AS SELECT 1 AS a;\n-- migrate:down\nDROP TABLE y;\n"
    )
    for command in ("plan", "lint"):
        _, said = here.run(command)
        lines = [line for line in said.splitlines() if "001_a.sql:" in line]
        found = {number for number in range(1, 7) if any(f".sql:{number}" in one for one in lines)}
        assert found == {5, 6}, said


BACKSLASHES = """\
CREATE TABLE paths (id INT PRIMARY KEY, name VARCHAR(40));
INSERT INTO paths VALUES (1, '\\'), (2, '; DROP TABLE other; -- ');
"""


def test_a_sql_mode_that_only_the_connection_knows(place: Callable[[str], Place]) -> None:
    """A file that it would divide otherwise is refused before its first step, with the line to write; with
    that line it runs."""
    here = place(BACKSLASHES)
    query(here.server, "CREATE TABLE other (a INT)", database=here.database)
    mode = "SET sql_mode = 'NO_BACKSLASH_ESCAPES'"
    configuration = here.terminal.folder / "ledger.toml"
    configuration.write_text(configuration.read_text() + f'session = ["{mode}"]\n')
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 3, said
    assert "001_a.sql:2" in said and f"Begin the section with {mode};" in said
    assert here.rows("SHOW TABLES LIKE 'paths'") == []
    here.terminal.write("migrations/app/001_a.sql", f"{mode};\n{BACKSLASHES}")
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 0, said
    assert here.rows("SELECT name FROM paths ORDER BY id") == [
        ("\\",),
        ("; DROP TABLE other; -- ",),
    ]
    assert here.rows("SELECT * FROM other") == []


def set_session(here: Place, mode: str) -> None:
    """From here on the tenant's connections begin with this sql_mode."""
    configuration = here.terminal.folder / "ledger.toml"
    configuration.write_text(
        configuration.read_text() + f"session = [\"SET sql_mode = '{mode}'\"]\n"
    )


@pytest.mark.parametrize(
    ("later", "line"),
    [
        (BACKSLASHES, "002_b.sql:2"),
        ("CREATE TABLE y (a INT);\n-- migrate:verify\n-- check: one\nSELECT '\\'' <> 'x';\n", "002_b.sql:4"),
        ("-- migrate:sync\nCREATE TABLE z (a VARCHAR(9) DEFAULT '\\'');\n", "002_b.sql:2"),
    ],
    ids=["step", "check", "sync"],
)  # fmt: skip
def test_all_that_is_pending_is_read_before_anything_is_touched(
    place: Callable[[str], Place], later: str, line: str
) -> None:
    """A later migration that the connection would divide otherwise stops the run before the first."""
    here = place("CREATE TABLE first (a INT);\n")
    here.terminal.write("migrations/app/002_b.sql", later)
    set_session(here, "NO_BACKSLASH_ESCAPES")
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 3, said
    assert line in said and "NO_BACKSLASH_ESCAPES" in said
    assert here.rows("SHOW TABLES") == []
    assert "is read differently" in here.run("history", "--format", "json")[1]


def test_checks_are_asked_in_the_mode_of_a_connection_as_it_begins(
    place: Callable[[str], Place],
) -> None:
    """What the section up has set is over by then, so that `validate` asks the same."""
    here = place(
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT';\nCREATE TABLE y (a INT);\n"
        "-- migrate:verify\nSELECT '\\'' <> 'x';\nSELECT ('1' || '0') = 1;\n"
    )
    for command in (("migrate", "--all-tenants", "-y"), ("validate",)):
        code, said = here.run(*command)
        assert code == 0, said


QUESTIONS = """\
SET sql_mode = 'NO_BACKSLASH_ESCAPES';
CREATE TABLE paths (id INT PRIMARY KEY, name VARCHAR(40));
-- verify-step: SELECT COUNT(*) FROM paths WHERE name = 'C:\\'
INSERT INTO paths VALUES (1, 'C:\\');
-- skip-if: sql: SELECT COUNT(*) FROM paths WHERE name IN ('C:\\', 'it''s')
INSERT INTO paths VALUES (2, 'never');
"""


def test_the_questions_of_a_step_are_read_in_its_mode(place: Callable[[str], Place]) -> None:
    """Its guard and its `-- verify-step`, by the splitter as by the server."""
    here = place(QUESTIONS)
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 0, said
    assert here.rows("SELECT id, name FROM paths") == [(1, "C:\\")]


@pytest.mark.parametrize("word", ["skip-if: sql:", "verify-step:"])
def test_a_question_that_the_connection_reads_otherwise(
    place: Callable[[str], Place], word: str
) -> None:
    """Refused as a step is, before anything is touched."""
    here = place(
        f"CREATE TABLE y (a VARCHAR(9));\n-- {word} SELECT '\\'' = 'x'\nINSERT INTO y VALUES ('a');\n"
    )
    set_session(here, "NO_BACKSLASH_ESCAPES")
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 3, said
    assert "001_a.sql:3" in said and "a question of step 2" in said and "CHAR(92)" in said
    assert here.rows("SHOW TABLES") == []


def test_down_steps_are_read_before_the_backup(place: Callable[[str], Place]) -> None:
    """A rollback that would meet such a step begins nothing."""
    here = place("CREATE TABLE x (a INT);\n-- migrate:down\nSELECT '\\'';\nDROP TABLE x;\n")
    here.terminal.write(
        "migrations/app/002_b.sql", "CREATE TABLE y (a INT);\n-- migrate:down\nDROP TABLE y;\n"
    )
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 0, said
    set_session(here, "NO_BACKSLASH_ESCAPES")
    code, said = here.run("rollback", "--all-tenants", "-y", "--to", "0")
    assert code == 3 and "001_a.sql:3" in said, said
    assert {str(name) for (name,) in here.rows("SHOW TABLES")} >= {"x", "y"}


def test_what_stands_behind_a_backslash_that_escapes_nothing(place: Callable[[str], Place]) -> None:
    """A call after such a literal is read as one, so that it counts what the step before it has done."""
    here = place(
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES';\nCREATE TABLE x (path VARCHAR(20), n INT);\n"
        "INSERT INTO x VALUES ('a', 0), ('b', 0);\nINSERT INTO x VALUES ('C:\\', ROW_COUNT()), ('#', 1);\n"
    )
    code, said = here.run("migrate", "--all-tenants", "-y")
    assert code == 0, said
    assert here.rows("SELECT path, n FROM x WHERE n > 0 ORDER BY path") == [("#", 1), ("C:\\", 2)]
