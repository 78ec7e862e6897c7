"""What a migration's connection knows: going on after a failure or a kill equals not having stopped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.engines.mysql import MysqlEngine
from ledger.errors import InDoubtError, StepFailedError
from ledger.scripts.model import PythonModule, Step
from tests.conftest import MakeDatabase
from tests.engines import mysql_child
from tests.engines.mysql_tenants import Tenant
from tests.engines.work import LEDGER, Journal, step, work
from tests.servers import Rows, Server, connect

SETUP = (
    "CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40), score DECIMAL(12,4))"
    " ENGINE=InnoDB AUTO_INCREMENT=7",
    "CREATE TABLE posts (id INT AUTO_INCREMENT PRIMARY KEY, author BIGINT, note VARCHAR(200)"
    " CHARACTER SET utf8mb4) ENGINE=InnoDB AUTO_INCREMENT=100",
    "CREATE TABLE plain (a INT) ENGINE=MyISAM",
    "INSERT INTO users (name, score) VALUES ('ann', 1.5), ('bob', 2.25), ('eve', 3)",
    "CREATE PROCEDURE who (OUT found INT) BEGIN SELECT MAX(id) INTO found FROM users;"
    " SET @inner_found = found * 10; SET SESSION group_concat_max_len = 2048; END",
    "CREATE PROCEDURE write_inner () INSERT INTO posts (author, note) VALUES (@inner_found, 'inner')",
    "CREATE FUNCTION twice (n INT) RETURNS INT NO SQL RETURN n * 2",
)
LOG = "INSERT INTO posts (author, note) VALUES ({}, '{}')"

CASES: dict[str, tuple[str, ...]] = {
    "select into": ("SELECT MAX(id), MIN(name) INTO @id, @name FROM users",
                    "UPDATE users SET name = 'x'",
                    "INSERT INTO posts (author, note) VALUES (@id, CONCAT(@name, @id))"),
    "assignments in a query": ("SET @n := 0", "UPDATE users SET score = (@n := @n + 10) ORDER BY id",
                               "DELETE FROM users WHERE name = 'ann'", LOG.format("@n", "n")),
    "a subquery of what is dropped later": (
        "CREATE TABLE gone AS SELECT 42 AS answer", "SET @n = (SELECT answer FROM gone)",
        "DROP TABLE gone", LOG.format("@n", "n"), "ALTER TABLE posts ADD z INT", LOG.format("@n", "m")),
    "types and collations": (
        "SET @i = -5, @u = CAST(18446744073709551615 AS UNSIGNED), @d = 1.50, @f = 1e-3, @n = NULL,"
        " @s = 'grün\\'s \"\\\\', @b = x'00ff80', @l = _latin1 x'e4' COLLATE latin1_german1_ci, @e = '',"
        " @`odd name` = 2, @'q.x' = 3",
        "UPDATE users SET score = 0",
        "CREATE TABLE kinds AS SELECT @i AS i, @u AS u, @d AS d, @f AS f, @s AS s, @b AS b, @l AS l",
        "INSERT INTO posts (author, note) SELECT @`odd name` + @'q.x', CONCAT_WS('|', HEX(@b), @s,"
        " HEX(@l), CHARSET(@l), COLLATION(@l), COLLATION(@s), @n IS NULL, @u, @d * 2, @f, @e = '')"),
    "comparing with columns": (
        "CREATE TABLE own (name VARCHAR(20)) CHARACTER SET utf8mb4", "INSERT INTO own VALUES ('a'), ('Ä'), ('b')",
        "SET @x = 'A'", "UPDATE own SET name = CONCAT(name, '!') WHERE name = @x",
        "CREATE TABLE made AS SELECT 'text' AS a, @x AS b, CONCAT(name, @x) AS c, _utf8mb4'x' AS d FROM own",
        "CREATE PROCEDURE mend (given VARCHAR(20) CHARACTER SET utf8mb4)"
        " UPDATE own SET name = 'found' WHERE name = given AND name = 'Ä'",
        "CREATE FUNCTION same (given VARCHAR(20) CHARACTER SET utf8mb4) RETURNS INT READS SQL DATA"
        " RETURN (SELECT COUNT(*) FROM own WHERE name = given)",
        "CREATE VIEW seen AS SELECT CONCAT(name, 'z') AS a, 'literal' AS b FROM own WHERE name > 'a'",
        "CREATE TRIGGER noted BEFORE INSERT ON own FOR EACH ROW SET NEW.name = CONCAT(NEW.name, 't')",
        "CREATE EVENT later ON SCHEDULE AT '2036-01-01 00:00:00' DO DELETE FROM own WHERE name = 'x'",
        "CALL mend('ä')", "INSERT INTO own VALUES ('ü')", LOG.format("same('ÜT')", "same")),
    "last_insert_id": ("INSERT INTO users (name) VALUES ('new')", "UPDATE users SET score = 1",
                       "ALTER TABLE users ADD y INT", "SET @id = LAST_INSERT_ID()",
                       LOG.format("LAST_INSERT_ID()", "of"), "DELETE FROM users WHERE id = 8",
                       LOG.format("@id", "both"), "SET @i = @@identity",
                       "SET @m = (SELECT MAX(id) FROM posts)", LOG.format("@i = @m", "own")),
    "last_insert_id set": ("UPDATE users SET id = LAST_INSERT_ID(id + 50) WHERE name = 'bob'",
                           "UPDATE users SET score = 1", LOG.format("LAST_INSERT_ID()", "set")),
    "row_count": ("UPDATE users SET score = score + 1 WHERE name <> 'eve'", LOG.format("ROW_COUNT()", "two"),
                  LOG.format("ROW_COUNT()", "one"), "DELETE FROM users", "SET @n = row_count ( )",
                  LOG.format("@n", "three"), "SELECT * FROM posts", LOG.format("ROW_COUNT()", "minus"),
                  "CREATE TABLE copy AS SELECT * FROM posts", LOG.format("ROW_COUNT()", "copied"),
                  "ALTER TABLE copy ADD w INT", "SELECT ROW_COUNT() INTO @n", LOG.format("@n", "altered"),
                  "DELETE FROM copy", "CREATE TABLE counted AS SELECT ROW_COUNT()"),
    "row_count of other statements": (
        "INSERT INTO plain VALUES (1), (2)", LOG.format("ROW_COUNT()", "myisam"),
        "CALL who(@a)", LOG.format("ROW_COUNT()", "call"), "START TRANSACTION",
        "UPDATE users SET name = CONCAT(name, 'x')", LOG.format("ROW_COUNT()", "within"), "COMMIT",
        LOG.format("ROW_COUNT()", "committed"), "UPDATE users SET name = 'y'",
        "GET DIAGNOSTICS @rows = ROW_COUNT", LOG.format("@rows", "ROW_COUNT() in a text")),
    "found_rows": ("SELECT SQL_CALC_FOUND_ROWS * FROM users LIMIT 1", LOG.format("FOUND_ROWS()", "all"),
                   "SELECT id FROM users LIMIT 2", "UPDATE users SET score = 9", "SET @f = FOUND_ROWS()",
                   LOG.format("@f", "two")),
    "warnings": ("INSERT IGNORE INTO users (id, name) VALUES (7, 'twice'), (8, 'twice')",
                 LOG.format("@@warning_count", "two"),
                 "INSERT IGNORE INTO users (id, name) VALUES (7, 'twice')",
                 "SET @w = @@session.warning_count + 10 * @@error_count", LOG.format("@w", "one")),
    "what programs set and read": (
        "CREATE TRIGGER noted AFTER INSERT ON users FOR EACH ROW SET @noted = NEW.id",
        "CREATE PROCEDURE count_it () INSERT INTO posts (author, note) VALUES (ROW_COUNT(), 'counted')",
        "INSERT INTO users (name) VALUES ('t')", "UPDATE users SET score = 2", "CALL count_it()",
        "SET @x = 1", "CALL count_it()", LOG.format("@noted", "by a trigger")),
    "locks": (
        "DO GET_LOCK('of the file', 5)", "UPDATE users SET score = 1",
        LOG.format("IS_USED_LOCK('of the file') = CONNECTION_ID()", "held"),
        "SELECT RELEASE_LOCK('of the file')", LOG.format("IS_FREE_LOCK('of the file')", "free")),
    "isolation": (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "UPDATE users SET score = 1",
        "INSERT INTO posts (note) VALUES (@@session.ISOLATION)",
        "SELECT id FROM users", "SET @f = FOUND_ROWS()", LOG.format("@f", "found")),
    "call": ("CALL who(@found)", "UPDATE users SET score = 1", LOG.format("@found", "out"),
             "CALL write_inner()", LOG.format("@@group_concat_max_len", "set inside"),
             "SET @twice = twice(@found)", LOG.format("@twice", "f")),
    "prepared": ("SET @table = 'posts'", "SET @sql = CONCAT('INSERT INTO ', @table, ' (author) VALUES (?)')",
                 "PREPARE put FROM @sql", "SET @sql = NULL, @v = 5", "UPDATE users SET score = 2",
                 "EXECUTE put USING @v", "PREPARE count_up FROM 'UPDATE users SET score = ROW_COUNT()'",
                 "DELETE FROM posts WHERE author = 1", "EXECUTE count_up", "DEALLOCATE PREPARE put",
                 "PREPARE put FROM 'INSERT INTO posts (author, note) VALUES (ROW_COUNT(), ''o''''k'')'",
                 "UPDATE users SET name = 'z'", "EXECUTE put", "DROP PREPARE put"),
    "settings": ("SET @old = @@sql_mode, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
                 "INSERT INTO users (id, name) VALUES (0, 'zero')", "SET sql_mode = @old",
                 "SET SESSION group_concat_max_len = (SELECT 4000 + COUNT(*) FROM users)",
                 "DELETE FROM users", LOG.format("@@group_concat_max_len", "len"),
                 "INSERT INTO posts (note) VALUES (@@sql_mode)",
                 "SET group_concat_max_len = DEFAULT", LOG.format("@@group_concat_max_len", "len"),
                 "SET NAMES latin1", "UPDATE users SET score = 3",
                 "INSERT INTO posts (note) VALUES (@@collation_connection)"),
    "plain settings": ("SET foreign_key_checks = 0, time_zone = '+05:00'", "UPDATE users SET score = 3",
                       LOG.format("@@foreign_key_checks", "off"),
                       "INSERT INTO posts (note) VALUES (@@time_zone)", "SET time_zone = '-02:00'",
                       "INSERT INTO posts (note) VALUES (@@time_zone)",
                       "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                       "INSERT INTO posts (note) VALUES (@@time_zone)"),
    "timestamp": ("SET timestamp = UNIX_TIMESTAMP('2020-02-02 02:02:02')", "UPDATE users SET score = 3",
                  "INSERT INTO posts (note) VALUES (NOW())", "SET timestamp = DEFAULT",
                  "INSERT INTO posts (author) VALUES (YEAR(NOW()) > 2020)"),
    "insert_id": ("SET insert_id = 500", "UPDATE users SET score = 1",
                  "INSERT INTO users (name) VALUES ('forced')", "INSERT INTO users (name) VALUES ('next')",
                  LOG.format("LAST_INSERT_ID()", "x")),
    "temporary": ("CREATE TEMPORARY TABLE pile AS SELECT id FROM users", "DELETE FROM users WHERE id = 7",
                  "INSERT INTO posts (author, note) SELECT id, 'piled' FROM pile",
                  "DROP TEMPORARY TABLE pile", LOG.format("1", "after")),
}  # fmt: skip
MARIADB: dict[str, tuple[str, ...]] = {
    "sequences": ("CREATE SEQUENCE ids START WITH 30 INCREMENT BY 3",
                  "INSERT INTO posts (author, note) VALUES (NEXT VALUE FOR ids, 'next')",
                  "UPDATE users SET score = 1", LOG.format("LASTVAL(ids)", "last"),
                  LOG.format("PREVIOUS VALUE FOR ids", "previous"),
                  LOG.format("NEXTVAL(ids)", "next"), LOG.format("LASTVAL(`ids`)", "last")),
    "seeds": ("SET rand_seed1 = 11, rand_seed2 = 12", "UPDATE users SET score = RAND() * 1000",
              "DELETE FROM users WHERE id = 7", "INSERT INTO posts (author) VALUES (RAND() * 100000)",
              "EXECUTE IMMEDIATE 'SET @im = 9'", "DELETE FROM users WHERE id = 8",
              LOG.format("@im", "immediate")),
}  # fmt: skip
PROGRAMS = {
    one: f"SELECT {name}, CHARACTER_SET_CLIENT, COLLATION_CONNECTION FROM information_schema.{one}S"
    f" WHERE {schema} = DATABASE() ORDER BY 1"
    for one, name, schema in (
        ("ROUTINE", "ROUTINE_NAME", "ROUTINE_SCHEMA"), ("VIEW", "TABLE_NAME", "TABLE_SCHEMA"),
        ("TRIGGER", "TRIGGER_NAME", "TRIGGER_SCHEMA"), ("EVENT", "EVENT_NAME", "EVENT_SCHEMA"),
    )
}  # fmt: skip
"""What stored programs were made under."""

IN_DOUBT = {"temporary": "temporary table pile"}
"""Cases that nothing can go on with in their middle, and what names the reason."""


def _steps(server: Server, case: str) -> tuple[str, ...]:
    """The case's; nothing of those that the server does not know."""
    found = CASES.get(case) or (MARIADB[case] if server.flavor == "mariadb" else ())
    isolation = "tx_isolation" if server.flavor == "mariadb" else "transaction_isolation"
    return tuple(one.replace("ISOLATION)", f"{isolation})") for one in found)


def _content(tenant: Tenant) -> dict[str, Rows]:
    names = sorted(tenant.tables())
    columns = {"posts": "author, note"}
    return (
        {
            name: tenant.rows(
                f"SELECT {columns.get(name, '*')} FROM `{name}` ORDER BY {'id' if name == 'posts' else 1}"
            )
            for name in names
        }
        | {
            f"{name} as made": tenant.rows(
                "SELECT COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME FROM information_schema.COLUMNS"
                f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{name}' ORDER BY ORDINAL_POSITION"
            )
            for name in names
        }
        | {what: tenant.rows(sql) for what, sql in PROGRAMS.items()}
    )


def _by_the_client(tenant: Tenant, steps: Sequence[str]) -> dict[str, Rows]:
    """What one plain connection makes of the same statements."""
    with connect(tenant.server, tenant.database) as connection, connection.cursor() as cursor:
        for sql in (*SETUP, *steps):
            cursor.execute(sql)
    return _content(tenant)


@pytest.fixture
async def engine() -> AsyncIterator[MysqlEngine]:
    """An engine."""
    made = MysqlEngine()
    yield made
    await made.aclose()


class Pair:
    """A tenant that was set up, and what the plain client makes of another one."""

    def __init__(self, server: Server, make: MakeDatabase, case: str) -> None:
        self.steps = _steps(server, case)
        self.expected = _by_the_client(Tenant(server, make(server)), self.steps)
        self._server, self._make = server, make

    def tenant(self) -> Tenant:
        """A fresh one."""
        made = Tenant(self._server, self._make(self._server))
        made.run(*SETUP)
        return made


async def _apply(
    engine: MysqlEngine,
    tenant: Tenant,
    steps: Sequence[str | Step],
    *,
    epoch: int,
    recorded: Journal,
) -> None:
    order = work(*steps, epoch=epoch)
    async with engine.open(tenant.target) as session:
        await session.fence(epoch=epoch, ledger=LEDGER)
        await session.apply(order, recorded)


@pytest.mark.parametrize("case", [*CASES, *MARIADB])
async def test_as_the_client(
    sql_server: Server, make_database: MakeDatabase, engine: MysqlEngine, case: str
) -> None:
    """An undisturbed run leaves what the server's own client would."""
    pair = Pair(sql_server, make_database, case)
    tenant = pair.tenant()
    await _apply(engine, tenant, pair.steps, epoch=1, recorded=Journal())
    assert _content(tenant) == pair.expected


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [*CASES, *MARIADB])
async def test_after_a_corrected_failure(
    sql_server: Server, make_database: MakeDatabase, engine: MysqlEngine, case: str
) -> None:
    """Whichever step failed first and was corrected, the end is that of an undisturbed run."""
    pair = Pair(sql_server, make_database, case)
    for at in range(1, len(pair.steps)):
        tenant = pair.tenant()
        broken = (*pair.steps[:at], "UPDATE nowhere SET x = 1", *pair.steps[at + 1 :])
        with pytest.raises(StepFailedError) as failed:
            await _apply(engine, tenant, broken, epoch=1, recorded=Journal())
        assert failed.value.step == at + 1
        try:
            await _apply(engine, tenant, pair.steps, epoch=2, recorded=Journal())
        except InDoubtError as doubt:
            assert IN_DOUBT.get(case, "never") in str(doubt), (at, doubt)
            assert doubt.step == 3
            continue
        assert _content(tenant) == pair.expected, (at, pair.steps[at])


POINTS = (
    "engine.in_transaction",
    "engine.after_commit",
    "engine.after_marker",
    "engine.after_statement",
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path, point: str
) -> None:
    """The same for a killed process; where a statement left something that nobody saw, in doubt by name."""
    steps = (*CASES["a subquery of what is dropped later"], *CASES["last_insert_id"],
             *CASES["row_count"][:5], *CASES["prepared"][:6])  # fmt: skip
    expected = _by_the_client(Tenant(sql_server, make_database(sql_server)), steps)
    killed = 0
    for times in range(1, 30, 3):
        folder = tmp_path / f"{times}"
        tenant = _child(sql_server, make_database, folder, steps)
        code, _ = mysql_child.run("up", folder, failpoint=f"{point}:{times}")
        if code == 0:
            break
        killed += 1
        _, answer = mysql_child.run("up", folder)
        assert "error" not in answer, (times, answer)
        assert _content(tenant) == expected, times
    assert killed


def _child(server: Server, make: MakeDatabase, folder: Path, steps: Sequence[str]) -> Tenant:
    tenant = Tenant(server, make(server))
    tenant.run(*SETUP)
    folder.mkdir(exist_ok=True)
    mysql_child.write_target(folder, server.url_for(tenant.database), server.password)
    (folder / "steps.json").write_text(json.dumps(steps))
    return tenant


def test_what_nobody_saw_is_in_doubt_by_name(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Killed between a CREATE TABLE and its marker, how many rows it copied is not known: nothing is guessed."""
    steps = ("CREATE TABLE copy AS SELECT * FROM users", LOG.format("ROW_COUNT()", "copied"))
    tenant = _child(sql_server, make_database, tmp_path, steps)
    mysql_child.run("up", tmp_path, failpoint="engine.after_statement:1")
    for _ in range(2):
        _, answer = mysql_child.run("up", tmp_path)
        assert answer["error"] == "InDoubtError"
        assert "step 2" in answer["message"]
        assert "reads what the statement before it left" in answer["message"]
    assert tenant.rows("SELECT COUNT(*) FROM posts") == ((0,),)


@pytest.mark.parametrize(("word", "rows"), [("applied", ()), ("not_applied", ((-1,),))])
async def test_a_person_settles_it(
    sql_server: Server, make_database: MakeDatabase, engine: MysqlEngine, word: str, rows: Rows
) -> None:
    """Who restores the missing piece by hand says that it is applied; the other word runs the step."""
    tenant = Tenant(sql_server, make_database(sql_server))
    tenant.run(*SETUP)
    fixed = ("CREATE TEMPORARY TABLE pile AS SELECT 1 AS id", "SELECT 1",
             "INSERT INTO posts (author) SELECT -COUNT(*) - 1 FROM (SELECT 1 FROM DUAL WHERE FALSE) pile")  # fmt: skip
    broken = (*fixed[:2], "SELECT nothing FROM pile")
    with pytest.raises(StepFailedError):
        await _apply(engine, tenant, broken, epoch=1, recorded=Journal())
    with pytest.raises(InDoubtError) as doubt:
        await _apply(engine, tenant, fixed, epoch=2, recorded=Journal())
    assert (doubt.value.step, doubt.value.line) == (3, 30)
    order = msgspec.structs.replace(work(*fixed, epoch=3), resolved=word, resolved_step=3)
    async with engine.open(tenant.target) as session:
        await session.fence(epoch=3, ledger=LEDGER)
        await session.apply(order, Journal())
    assert tenant.rows("SELECT author FROM posts") == rows


async def test_a_python_migration_goes_on_with_it(
    sql_server: Server, make_database: MakeDatabase, engine: MysqlEngine
) -> None:
    """Its statements are known only as they come: all that they may read is kept."""
    tenant = Tenant(sql_server, make_database(sql_server))
    tenant.run(*SETUP)
    broken = True

    async def up(given: Any) -> None:
        await given.execute("SELECT MAX(id) INTO @id FROM users")
        await given.execute("INSERT INTO users (name) VALUES ('new')")
        await given.execute("UPDATE users SET score = 4")
        if broken:
            raise RuntimeError("not yet")
        assert await given.fetch("SELECT ROW_COUNT()") == [(4,)]
        await given.execute("INSERT INTO posts (author, note) VALUES (@id, LAST_INSERT_ID())")

    for epoch in (1, 2):
        order = work(python=PythonModule(up=up), epoch=epoch)
        async with engine.open(tenant.target) as session:
            await session.fence(epoch=epoch, ledger=LEDGER)
            if broken:
                with pytest.raises(StepFailedError):
                    await session.apply(order, Journal())
            else:
                await session.apply(order, Journal())
        broken = False
    assert tenant.rows("SELECT author, note FROM posts") == ((9, "10"),)


async def test_nothing_of_an_earlier_migration_is_left(
    sql_server: Server, make_database: MakeDatabase, engine: MysqlEngine
) -> None:
    """Two migrations in one run are as two runs: neither variables nor LAST_INSERT_ID go over."""
    tenant = Tenant(sql_server, make_database(sql_server))
    tenant.run(*SETUP)
    first = ("SELECT 5 INTO @a", "INSERT INTO users (name) VALUES ('x')")
    second = ("INSERT INTO posts (author, note) VALUES (LAST_INSERT_ID(), IFNULL(@a, 'none'))",)
    async with engine.open(tenant.target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        await session.apply(work(*first, epoch=1), Journal())
        await session.apply(work(*second, version="2", epoch=1, expected=["app/1"]), Journal())
    assert tenant.rows("SELECT author, note FROM posts") == ((0, "none"),)


async def test_a_secret_stays_out_of_the_marker(
    sql_server: Server, make_database: MakeDatabase, engine: MysqlEngine
) -> None:
    """The variables of a step that is marked secret are set again by it, and kept nowhere."""
    tenant = Tenant(sql_server, make_database(sql_server))
    tenant.run(*SETUP)
    secret = step(1, "SET @word = 'xyzzy-secret'", secret=True)
    last = "INSERT INTO posts (note) VALUES (SHA2(@word, 256))"
    with pytest.raises(StepFailedError):
        broken = (secret, "SET @other = 1", "SELECT 1 FROM nowhere")
        await _apply(engine, tenant, broken, epoch=1, recorded=Journal())
    kept = str(tenant.rows("SELECT body FROM ledger_marker WHERE id <> ''"))
    assert "other" in kept
    assert b"xyzzy-secret".hex().upper() not in kept.upper()
    await _apply(engine, tenant, (secret, "SET @other = 1", last), epoch=2, recorded=Journal())
    assert tenant.rows("SELECT note = SHA2('xyzzy-secret', 256) FROM posts") == ((1,),)
