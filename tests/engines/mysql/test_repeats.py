"""Statements that look as if they could be run twice and have an effect: killed behind one, it has that effect
once, or stands in doubt by its name."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import MakeDatabase
from tests.engines import mysql_child
from tests.servers import Rows, Server, queries, query

WRITES = (
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC MODIFIES SQL DATA"
    " BEGIN INSERT INTO log VALUES (1); RETURN 1; END"
)
LOG = "CREATE TABLE log (n INT) ENGINE=InnoDB"
OLD_LOG = "CREATE TABLE log (n INT) ENGINE=MyISAM"


class Tenant:
    """A database, the folder of the processes that migrate it, and steps that the kills come after."""

    def __init__(self, server: Server, name: str, folder: Path) -> None:
        self.server, self.name, self.folder = server, name, folder
        folder.mkdir(exist_ok=True)
        mysql_child.write_target(folder, server.url_for(name), server.password)

    def prepare(self, *statements: str) -> None:
        """What is there before the migration."""
        queries(self.server, statements, database=self.name)

    def steps(self, *statements: str) -> None:
        """The migration."""
        (self.folder / "steps.json").write_text(json.dumps(statements))

    def killed(self, point: str) -> None:
        """Run it, and die there."""
        code, answer = mysql_child.run("up", self.folder, failpoint=point)
        assert code == -9, answer

    def run(self) -> dict[str, object]:
        """Run it to its end."""
        return mysql_child.run("up", self.folder)[1]

    def rows(self, sql: str) -> Rows:
        """Past the engine."""
        return query(self.server, sql, database=self.name)


@pytest.fixture
def tenant(sql_server: Server, make_database: MakeDatabase, tmp_path: Path) -> Tenant:
    """An empty database on each server in turn."""
    return Tenant(sql_server, make_database(sql_server), tmp_path / "child")


@pytest.fixture
def on_mariadb(mariadb: Server, make_database: MakeDatabase, tmp_path: Path) -> Tenant:
    """An empty database of MariaDB, for what MySQL has not."""
    return Tenant(mariadb, make_database(mariadb), tmp_path / "child")


CALLS = (
    "SELECT f()",
    "DO f()",
    "VALUES ROW(f(), 2)",
    "SELECT x.y FROM (SELECT `f` () AS y) AS x",
    "WITH x AS (SELECT f() AS y) SELECT y FROM x",
    "(SELECT f())",
    "SET @x = f()",
    "SET @x = (SELECT f())",
)


@pytest.mark.parametrize("statement", CALLS)
@pytest.mark.parametrize("point", ["engine.in_transaction", "engine.after_commit"])
def test_a_function_that_writes_is_called_once(tenant: Tenant, statement: str, point: str) -> None:
    """Its rows commit together with the marker, or not at all."""
    if statement.startswith("VALUES") and tenant.server.flavor == "mariadb":
        statement = "VALUES (f(), 2)"
    tenant.prepare(LOG, WRITES)
    tenant.steps(statement, "CREATE TABLE later (a INT)")
    tenant.killed(point)
    answer = tenant.run()
    assert answer.get("error") in (None, "InDoubtError"), answer
    assert tenant.rows("SELECT n FROM log") == ((1,),)
    if not statement.startswith("SET"):
        # What SET left in a connection is another matter than what the function wrote.
        assert tenant.rows("SELECT count(*) FROM later") == ((0,),)


def test_a_function_over_a_table_without_transactions_is_in_doubt(tenant: Tenant) -> None:
    """What it wrote no rollback takes back: it stands in doubt by its name, and is not called again."""
    tenant.prepare(OLD_LOG, WRITES)
    tenant.steps("SELECT f()", "CREATE TABLE later (a INT)")
    tenant.killed("engine.after_statement")
    answer = tenant.run()
    assert answer["error"] == "InDoubtError" and "SELECT f()" in str(answer["evidence"]), answer
    assert tenant.rows("SELECT n FROM log") == ((1,),)


@pytest.mark.parametrize("statement", ["SELECT NOW(), CONCAT('a', 1)", "SELECT is_ipv4('1.1.1.1')"])
def test_the_servers_own_functions_are_simply_called(tenant: Tenant, statement: str) -> None:
    """Nothing is announced, and nothing in doubt; in strings and comments no function is called."""
    tenant.prepare(OLD_LOG, WRITES)
    tenant.steps(f"{statement}, 'f()', 1 /* f() */ AS f", "CREATE TABLE later (a INT)")
    tenant.killed("engine.after_statement")
    intents = [
        one for one in (tenant.folder / "events.jsonl").read_text().splitlines() if "intent" in one
    ]
    assert len(intents) == 1
    assert "error" not in tenant.run()


VIEWS = ("CREATE VIEW v AS SELECT f() AS y", "CREATE VIEW w AS SELECT y FROM v")
READS = (
    "SELECT * FROM v",
    "SELECT y FROM w",
    "DO (SELECT y FROM `w`)",
    "SET @x = (SELECT y FROM w)",
)


@pytest.mark.parametrize("statement", READS)
def test_a_view_that_calls_a_function_is_read_once(tenant: Tenant, statement: str) -> None:
    """The function writes although the statement does not name it; so it does in a view of a view."""
    tenant.prepare(LOG, WRITES, *VIEWS)
    tenant.steps(statement, "CREATE TABLE later (a INT)")
    tenant.killed("engine.after_commit")
    answer = tenant.run()
    assert answer.get("error") in (None, "InDoubtError"), answer
    assert tenant.rows("SELECT n FROM log") == ((1,),)


@pytest.mark.parametrize("statement", ["SELECT y FROM {0}.w", "INSERT INTO t SELECT y FROM w"])
def test_a_view_whose_function_writes_without_transactions(tenant: Tenant, statement: str) -> None:
    """What it wrote no rollback takes back: in doubt by name."""
    tenant.prepare(OLD_LOG, WRITES, *VIEWS, "CREATE TABLE t (n INT) ENGINE=InnoDB")
    statement = statement.format(f"`{tenant.name}`")
    if "INSERT" in statement:
        tenant.steps("SET sql_log_bin = 0", statement, "CREATE TABLE later (a INT)")
    else:
        tenant.steps(statement, "CREATE TABLE later (a INT)")
    tenant.killed("engine.after_statement")
    answer = tenant.run()
    assert answer.get("error") == "InDoubtError", answer
    assert tenant.rows("SELECT n FROM log") == ((1,),)


def test_a_view_that_only_reads_is_simply_read(tenant: Tenant) -> None:
    """Nothing is announced for it."""
    tenant.prepare(OLD_LOG, WRITES, "CREATE VIEW v AS SELECT n FROM log WHERE n > ABS(-1)")
    tenant.steps("SELECT n FROM v", "CREATE TABLE later (a INT)")
    tenant.killed("engine.after_statement")
    intents = [
        one for one in (tenant.folder / "events.jsonl").read_text().splitlines() if "intent" in one
    ]
    assert len(intents) == 1
    assert "error" not in tenant.run()


SEQUENCES = (
    "SELECT NEXTVAL(s)",
    "SELECT NEXT VALUE FOR s",
    "DO NEXTVAL(s)",
    "SET @x = NEXTVAL(s)",
    "SELECT SETVAL(s, 1)",
)


@pytest.mark.parametrize("statement", SEQUENCES)
def test_a_sequence_is_drawn_from_once(on_mariadb: Tenant, statement: str) -> None:
    """MariaDB: no transaction gives a value back."""
    on_mariadb.prepare("CREATE SEQUENCE s NOCACHE")
    on_mariadb.steps(statement, "CREATE TABLE later (a INT)")
    on_mariadb.killed("engine.after_statement")
    answer = on_mariadb.run()
    assert answer["error"] == "InDoubtError", answer
    assert "sequence" in str(answer["message"])
    assert on_mariadb.rows("SELECT NEXTVAL(s)") == ((2,),)


@pytest.mark.parametrize("into", ["OUTFILE", "DUMPFILE"])
def test_a_file_is_written_once(tenant: Tenant, into: str) -> None:
    """A second run would end with `File exists` for ever: it is named as in doubt instead."""
    ((allowed, folder),) = tenant.rows("SELECT @@secure_file_priv, @@datadir")
    path = Path(allowed or folder) / f"{uuid.uuid4().hex}.txt"
    tenant.steps(f"SELECT 1 INTO {into} '{path}'", "CREATE TABLE later (a INT)")
    tenant.killed("engine.after_statement")
    answer = tenant.run()
    assert answer["error"] == "InDoubtError", answer
    assert "file" in str(answer["message"])
    with suppress(OSError):
        path.unlink()


TWICE = (
    "ALTER TABLE c ADD FOREIGN KEY IF NOT EXISTS (pid) REFERENCES p (id)",
    "ALTER TABLE c DROP COLUMN IF EXISTS a, ADD COLUMN IF NOT EXISTS a INT",
    "ALTER TABLE c RENAME COLUMN IF EXISTS a TO b, ADD COLUMN IF NOT EXISTS a INT",
)


@pytest.mark.parametrize("statement", TWICE)
def test_guards_that_do_not_make_an_alter_repeatable(
    on_mariadb: Tenant, make_database: MakeDatabase, tmp_path: Path, statement: str
) -> None:
    """MariaDB: the table is as after a run that nobody killed, whatever its guards say the second time."""
    prepared = (
        "CREATE TABLE p (id INT PRIMARY KEY)",
        "CREATE TABLE c (pid INT, a INT, KEY (pid))",
        "INSERT INTO c VALUES (1, 7)",
        "SET foreign_key_checks = 0",
    )
    other = Tenant(on_mariadb.server, make_database(on_mariadb.server), tmp_path / "undisturbed")
    for one in (other, on_mariadb):
        one.prepare(*prepared[:2])
        one.steps(statement)
    other.run()
    on_mariadb.killed("engine.after_statement")
    answer = on_mariadb.run()
    assert "error" not in answer, answer
    assert on_mariadb.rows("SHOW CREATE TABLE c") == other.rows("SHOW CREATE TABLE c")


@pytest.mark.parametrize("statement", ["UPDATE t SET n = n + 1", "INSERT INTO t VALUES (10)"])
@pytest.mark.parametrize("point", ["engine.in_transaction", "engine.after_commit"])
@pytest.mark.parametrize(
    "before", ["SET STATEMENT max_statement_time = 60 FOR", "ANALYZE", "ANALYZE FORMAT=JSON"]
)
def test_a_statement_behind_another_ones_words_runs_once(
    on_mariadb: Tenant, before: str, statement: str, point: str
) -> None:
    """MariaDB: SET STATEMENT … FOR and ANALYZE run what follows them."""
    on_mariadb.prepare("CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)")
    on_mariadb.steps(
        "CREATE TABLE early (a INT)", f"{before} {statement}", "CREATE TABLE later (a INT)"
    )
    on_mariadb.killed(point)
    answer = on_mariadb.run()
    assert "error" not in answer, answer
    assert on_mariadb.rows("SELECT sum(n) FROM t") in (((2,),), ((11,),))


def test_a_setting_of_the_server_is_not_taken_relative_twice(tenant: Tenant) -> None:
    """SET GLOBAL with a value of its own is no matter of the connection."""
    before = tenant.rows("SELECT @@GLOBAL.max_connect_errors")[0][0]
    tenant.steps(
        "SET GLOBAL max_connect_errors = @@GLOBAL.max_connect_errors + 1",
        "CREATE TABLE later (a INT)",
    )
    tenant.killed("engine.after_statement")
    answer = tenant.run()
    after = tenant.rows("SELECT @@GLOBAL.max_connect_errors")[0][0]
    assert answer["error"] == "InDoubtError", answer
    assert after == before + 1


def test_an_event_that_runs_once_is_made_once(tenant: Tenant) -> None:
    """It has run and dropped itself by the time that the migration goes on: IF NOT EXISTS would run it again."""
    tenant.prepare(LOG)
    tenant.steps(
        "CREATE EVENT IF NOT EXISTS e ON SCHEDULE AT CURRENT_TIMESTAMP - INTERVAL 1 DAY"
        " DO INSERT INTO log VALUES (1)",
        "CREATE TABLE later (a INT)",
    )
    tenant.killed("engine.after_statement")
    answer = tenant.run()
    assert answer["error"] == "InDoubtError", answer
    assert "event" in str(answer["message"])


@pytest.mark.parametrize("owner", ["", "{name}."])
def test_a_function_is_not_called_to_find_out_whether_its_table_landed(
    on_mariadb: Tenant, owner: str
) -> None:
    """A scratch database cannot hold back what a function writes into the tenant: the step is in doubt.
    (MySQL calls no function that writes here.)
    """
    on_mariadb.prepare(LOG, WRITES)
    on_mariadb.steps(
        f"CREATE TABLE IF NOT EXISTS t AS SELECT {owner.format(name=on_mariadb.name)}f() AS a"
    )
    on_mariadb.killed("engine.after_statement")
    answer = on_mariadb.run()
    assert answer["error"] == "InDoubtError", answer
    assert on_mariadb.rows("SELECT n FROM log") == ((1,),)


@pytest.mark.parametrize("guard", ["IF NOT EXISTS", ""])
def test_rows_of_a_table_without_transactions_are_not_taken_for_whole(
    on_mariadb: Tenant, guard: str
) -> None:
    """CREATE TABLE … SELECT into MyISAM: in doubt, and not called landed. (MySQL refuses it with GTIDs.)"""
    on_mariadb.prepare("CREATE TABLE source (a INT)", "INSERT INTO source VALUES (1), (2)")
    on_mariadb.steps(f"CREATE TABLE {guard} t ENGINE=MyISAM SELECT a FROM source")
    on_mariadb.killed("engine.after_statement")
    answer = on_mariadb.run()
    assert answer["error"] == "InDoubtError", answer
    assert on_mariadb.rows("SELECT count(*) FROM t") == ((2,),)


REACHES = (
    "UPDATE t JOIN log AS l ON l.n = t.n SET l.n = l.n + 1, t.n = t.n + 1",
    "UPDATE t, log SET log.n = log.n + 1 WHERE log.n = t.n",
    "UPDATE {name}_x.log SET n = n + 1",
    "DELETE l, t FROM t JOIN log AS l ON l.n = t.n",
    "DELETE FROM t, log USING t JOIN log ON log.n = t.n",
)


@pytest.mark.parametrize("statement", REACHES)
def test_a_table_without_transactions_is_seen_wherever_it_stands(
    on_mariadb: Tenant, statement: str
) -> None:
    """Joined, under an alias, or of another database. (With GTIDs, MySQL refuses to mix them.)"""
    other = f"{on_mariadb.name}_x"
    on_mariadb.prepare(
        OLD_LOG, "INSERT INTO log VALUES (1)", "CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)"
    )
    if "_x" in statement:
        on_mariadb.prepare(f"CREATE DATABASE {other}", f"ALTER TABLE log RENAME TO {other}.log")
    try:
        on_mariadb.steps(statement.format(name=on_mariadb.name))
        on_mariadb.killed("engine.after_statement")
        answer = on_mariadb.run()
        assert answer["error"] == "InDoubtError", answer
    finally:
        on_mariadb.prepare(f"DROP DATABASE IF EXISTS {other}")


def test_a_table_that_lost_its_transactions_is_asked_again(on_mariadb: Tenant) -> None:
    """What was known of its engine is not, once a statement has defined it anew."""
    on_mariadb.prepare("CREATE TABLE t (n INT)")
    on_mariadb.steps(
        "INSERT INTO t VALUES (1)", "ALTER TABLE t ENGINE=MyISAM", "UPDATE t SET n = n + 1"
    )
    on_mariadb.killed("engine.after_statement:2")
    answer = on_mariadb.run()
    assert answer["error"] == "InDoubtError", answer
    assert on_mariadb.rows("SELECT n FROM t") == ((2,),)


def test_rows_behind_a_view_of_a_table_without_transactions_are_in_doubt(tenant: Tenant) -> None:
    """The view has no engine of its own to ask for."""
    tenant.prepare(OLD_LOG, "CREATE VIEW v AS SELECT n FROM log")
    tenant.steps("INSERT INTO v VALUES (5)")
    tenant.killed("engine.after_statement")
    assert tenant.run()["error"] == "InDoubtError"
    assert tenant.rows("SELECT n FROM log") == ((5,),)


@pytest.mark.parametrize(
    "ends",
    ["SET autocommit = 1", "ANALYZE TABLE t", "START TRANSACTION", "FLUSH STATUS", "CALL p()"],
)
def test_what_commits_implicitly_commits_with_the_marker(tenant: Tenant, ends: str) -> None:
    """Rows that the file's own transaction holds land with the statement that commits them unasked."""
    begin = "SET autocommit = 0" if "autocommit" in ends else "BEGIN"
    rest = ("COMMIT",) if ends == "START TRANSACTION" else ()
    tenant.prepare(
        "CREATE TABLE t (n INT)",
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE slow (n INT) AS SELECT 60 AS n",
        "CREATE PROCEDURE p() CREATE TABLE IF NOT EXISTS made (a INT)",
    )
    wait = "SELECT SLEEP((SELECT sum(n) FROM slow))"
    tenant.steps(begin, "UPDATE t SET n = n + 1", ends, wait, *rest)
    child = mysql_child.start("up", tenant.folder)
    waiting = (
        "SELECT count(*) FROM information_schema.PROCESSLIST"
        f" WHERE DB = '{tenant.name}' AND INFO LIKE 'SELECT SLEEP%'"
    )
    while tenant.rows(waiting) == ((0,),):
        assert not child.over, child.err
        time.sleep(0.05)
    child.end()
    tenant.prepare("UPDATE slow SET n = 0")
    answer = tenant.run()
    assert "error" not in answer, answer
    assert tenant.rows("SELECT n FROM t") == ((2,),)
