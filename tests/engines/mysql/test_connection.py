"""What a migration's connection knows: going on after a failure or a kill equals not having stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.dialects.steps import Step
from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import InDoubtError, StepFailedError
from ledger.scripts.model import PythonModule
from tests.conftest import MakeDatabase
from tests.engines import mysql_child
from tests.engines.connection_cases import CASES, LOG, MARIADB, SETUP
from tests.engines.mysql_tenants import Tenant
from tests.engines.work import LEDGER, Journal, step, work
from tests.servers import Rows, Server, connect

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
