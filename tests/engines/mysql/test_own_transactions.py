"""Killed inside the file's own transaction, or in a statement whose trigger or function writes elsewhere: no row
is there twice, and what nothing settles is in doubt by its name."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest

from tests.conftest import MakeDatabase
from tests.engines import mysql_child
from tests.engines.mysql.test_repeats import LOG, OLD_LOG, WRITES, Tenant
from tests.servers import Server

ROWS = "CREATE TABLE t (n INT) ENGINE=InnoDB"
FIRST = "INSERT INTO t VALUES (1)"
WAIT = "DO SLEEP((SELECT sum(n) FROM slow))"
SLOW = "CREATE TABLE slow (n INT) AS SELECT 60 AS n"
BEGINS = pytest.mark.parametrize("begin", ["BEGIN", "SET autocommit = 0"])
UNLOGGED = "SET sql_log_bin = 0"
"""With its binary log and GTIDs, MySQL refuses what mixes tables with and without transactions."""

NOTED = "CREATE TRIGGER noted AFTER INSERT ON t FOR EACH ROW INSERT INTO log VALUES (NEW.n)"


@pytest.fixture
def tenant(sql_server: Server, make_database: MakeDatabase, tmp_path: Path) -> Tenant:
    """An empty database on each server in turn."""
    return Tenant(sql_server, make_database(sql_server), tmp_path / "child")


def killed_while_it_waits(tenant: Tenant) -> None:
    """Kill the migration in its slow statement, which is over at once the next time."""
    child = mysql_child.start("up", tenant.folder)
    waiting = (
        "SELECT count(*) FROM information_schema.PROCESSLIST"
        f" WHERE DB = '{tenant.name}' AND INFO LIKE 'DO SLEEP%'"
    )
    while tenant.rows(waiting) == ((0,),):
        assert not child.over, child.err
        time.sleep(0.05)
    child.end()
    tenant.prepare("UPDATE slow SET n = 0")


def doubt(tenant: Tenant, word: str) -> None:
    """The next run ends with a step in doubt, and says which."""
    answer = tenant.run()
    assert answer.get("error") == "InDoubtError", answer
    assert word in str(answer["evidence"]), answer


def settle(tenant: Tenant, how: str, step: int) -> dict[str, object]:
    """A person's word, and the run after it."""
    (tenant.folder / "word.json").write_text(json.dumps([how, step]))
    return tenant.run()


@pytest.mark.parametrize(
    ("begin", "commits"),
    [
        ("BEGIN", "COMMIT"),
        ("SET autocommit = 0", "CREATE TABLE made (a INT)"),
        ("BEGIN", "COMMIT; START TRANSACTION"),
    ],
)
def test_a_call_that_commits_in_its_middle(tenant: Tenant, begin: str, commits: str) -> None:
    """The rows before it have landed with its commit; the call is in doubt."""
    tenant.prepare(
        ROWS,
        SLOW,
        f"CREATE PROCEDURE p() BEGIN INSERT INTO t VALUES (2); {commits}; {WAIT}; INSERT INTO t VALUES (3); END",
    )
    tenant.steps(begin, FIRST, "CALL p()", "INSERT INTO t VALUES (4)", "COMMIT")
    killed_while_it_waits(tenant)
    doubt(tenant, "CALL p()")
    # MySQL goes on with a procedure whose client is gone.
    assert tenant.rows("SELECT n FROM t WHERE n < 3 ORDER BY n") == ((1,), (2,))
    answer = settle(tenant, "applied", 3)
    assert "error" not in answer, answer
    assert tenant.rows("SELECT n FROM t WHERE n <> 3 ORDER BY n") == ((1,), (2,), (4,))


@BEGINS
def test_a_call_that_commits_nothing_is_made_again(tenant: Tenant, begin: str) -> None:
    """Its transaction was rolled back whole, and runs again whole."""
    tenant.prepare(
        ROWS,
        SLOW,
        f"CREATE PROCEDURE p() BEGIN INSERT INTO t VALUES (2); {WAIT}; INSERT INTO t VALUES (3); END",
    )
    tenant.steps(begin, FIRST, "CALL p()", "INSERT INTO t VALUES (4)", "COMMIT")
    killed_while_it_waits(tenant)
    answer = tenant.run()
    assert "error" not in answer, answer
    assert tenant.rows("SELECT n FROM t ORDER BY n") == ((1,), (2,), (3,), (4,))


@pytest.mark.parametrize(
    ("begin", "after"), [("BEGIN", "COMMIT"), ("SET autocommit = 0", "COMMIT; START TRANSACTION")]
)
def test_a_call_that_fails_behind_its_commit(tenant: Tenant, begin: str, after: str) -> None:
    """What it had committed stays and is not run again; so it is where a later step fails."""
    tenant.prepare(ROWS, f"CREATE PROCEDURE p() BEGIN {after}; INSERT INTO nope VALUES (3); END")
    tenant.steps(begin, FIRST, "CALL p()", "COMMIT")
    for _ in range(2):
        answer = tenant.run()
        assert answer.get("error") == "StepFailedError", answer
    assert tenant.rows("SELECT n FROM t") == ((1,),)
    tenant.prepare("CREATE TABLE nope (n INT)")
    assert "error" not in tenant.run()
    assert tenant.rows("SELECT n FROM t") == ((1,),)


def test_a_step_that_fails_behind_a_call_that_committed(tenant: Tenant) -> None:
    """The call had come to its end, and a part of it was rolled back: it is not simply made again."""
    tenant.prepare(
        ROWS,
        "CREATE PROCEDURE p() BEGIN INSERT INTO t VALUES (2); COMMIT; START TRANSACTION; INSERT INTO t VALUES (3); END",
    )
    tenant.steps("BEGIN", FIRST, "CALL p()", "INSERT INTO nope VALUES (1)", "COMMIT")
    assert tenant.run().get("error") == "StepFailedError"
    tenant.prepare("CREATE TABLE nope (n INT)")
    doubt(tenant, "CALL p()")
    assert tenant.rows("SELECT n FROM t ORDER BY n") == ((1,), (2,))


@pytest.mark.parametrize(
    ("begin", "point"),
    [
        ("BEGIN", "engine.after_intent"),
        ("SET autocommit = 0", "engine.after_statement:2"),
        ("BEGIN", "engine.in_transaction"),
    ],
)
def test_a_file_is_written_once(tenant: Tenant, begin: str, point: str) -> None:
    """The rows are rolled back, the file stays: it is not written a second time."""
    ((allowed, folder),) = tenant.rows("SELECT @@secure_file_priv, @@datadir")
    path = Path(allowed or folder) / f"{uuid.uuid4().hex}.txt"
    tenant.prepare(ROWS)
    tenant.steps(
        begin, FIRST, f"SELECT n INTO OUTFILE '{path}' FROM t", "INSERT INTO t VALUES (2)", "COMMIT"
    )
    tenant.killed(point)
    doubt(tenant, "OUTFILE")
    assert tenant.rows("SELECT n FROM t") == ()
    how = "not_applied" if point == "engine.after_intent" else "applied"
    answer = settle(tenant, how, 3)
    assert "error" not in answer, answer
    assert tenant.rows("SELECT n FROM t") == ((1,), (2,))


@BEGINS
def test_rows_of_a_table_without_transactions(tenant: Tenant, begin: str) -> None:
    """Those that are there for certain are left as they are; the last one is in doubt."""
    tenant.prepare(ROWS, OLD_LOG)
    tenant.steps(
        UNLOGGED,
        begin,
        FIRST,
        "INSERT INTO log VALUES (1)",
        "INSERT INTO log VALUES (2)",
        "INSERT INTO t VALUES (2)",
        "COMMIT",
    )
    tenant.killed("engine.in_transaction")
    doubt(tenant, "(2)")
    assert tenant.rows("SELECT n FROM log ORDER BY n") == ((1,), (2,))
    answer = settle(tenant, "applied", 5)
    assert "error" not in answer, answer
    assert tenant.rows("SELECT n FROM log ORDER BY n") == ((1,), (2,))
    assert tenant.rows("SELECT n FROM t ORDER BY n") == ((1,), (2,))


ELSEWHERE = {
    "trigger": ((OLD_LOG, ROWS, NOTED), FIRST),
    "trigger behind a trigger": (
        (OLD_LOG, ROWS, "CREATE TABLE u (n INT)", NOTED.replace("INTO log", "INTO u"),
         "CREATE TRIGGER more AFTER INSERT ON u FOR EACH ROW INSERT INTO log VALUES (NEW.n)"), FIRST),
    "trigger that calls": (
        (OLD_LOG, ROWS, WRITES, "CREATE TRIGGER noted AFTER INSERT ON t FOR EACH ROW SET @n = f()"), FIRST),
    "function": ((OLD_LOG, ROWS, WRITES), "INSERT INTO t VALUES (f())"),
    "function in WHERE": ((OLD_LOG, ROWS, FIRST, WRITES), "UPDATE t SET n = 2 WHERE `f` () = 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", ELSEWHERE)
def test_rows_that_write_others_without_transactions(tenant: Tenant, case: str) -> None:
    """The statement's own table is transactional; what its trigger or function writes is not."""
    before, statement = ELSEWHERE[case]
    tenant.prepare(*before)
    tenant.steps(UNLOGGED, statement, "CREATE TABLE later (a INT)")
    tenant.killed("engine.after_statement")
    doubt(tenant, statement)
    assert tenant.rows("SELECT count(*) FROM log") == ((1,),)


def test_a_table_that_is_filled_by_a_function(
    mariadb: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """MariaDB: that the table is not there says nothing of what the function wrote."""
    tenant = Tenant(mariadb, make_database(mariadb), tmp_path / "child")
    tenant.prepare(OLD_LOG, WRITES)
    tenant.steps("CREATE TABLE u AS SELECT f() AS n")
    tenant.killed("engine.after_statement")
    tenant.prepare("DROP TABLE u")
    doubt(tenant, "CREATE TABLE u")
    assert tenant.rows("SELECT n FROM log") == ((1,),)


@pytest.mark.parametrize("log", [LOG, f"{LOG}; {OLD_LOG.replace('log', 'other')}"])
def test_a_trigger_that_stays_inside_the_transaction(tenant: Tenant, log: str) -> None:
    """Its rows are rolled back with the statement's, whatever other tables there are: nothing is announced."""
    tenant.prepare(*log.split("; "), ROWS, NOTED)
    tenant.steps(FIRST)
    tenant.killed("engine.in_transaction")
    assert "error" not in tenant.run()
    assert tenant.rows("SELECT n FROM log") == ((1,),)
    assert "intent" not in (tenant.folder / "events.jsonl").read_text()
