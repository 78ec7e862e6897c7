"""Objects that only some servers know: libraries, duality and materialized views, sequences' steps; and
what differs between two tables that information_schema shows alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.engines.mysql.engine import MysqlEngine
from ledger.scripts.created import Owned
from tests.conftest import MakeDatabase
from tests.engines.mysql_tenants import Tenant
from tests.engines.work import LEDGER
from tests.servers import Server

LIBRARY = "CREATE LIBRARY @lib LANGUAGE JAVASCRIPT AS $$\nexport function f(n) { return n + {n} } // don't `\n;;\n$$"
OBJECTS = (
    "CREATE TABLE @t (id INT PRIMARY KEY, a INT)",
    "INSERT INTO @t VALUES (1, 2)",
    LIBRARY.replace("{n}", "1"),
    "CREATE LIBRARY @plain LANGUAGE JAVASCRIPT AS $$\nlet a = 1\n;;\nlet b = `$ ${a}`;;\n$$",
    "CREATE LIBRARY @wasm LANGUAGE WASM AS 0x0061736d",
    "CREATE FUNCTION @f(n INT) RETURNS INT DETERMINISTIC LANGUAGE JAVASCRIPT USING (@lib AS l, @wasm AS w)"
    " AS $$ return l.f(n) /* it's */ $$",
    "CREATE JSON DUALITY VIEW @duo AS SELECT JSON_DUALITY_OBJECT(WITH(INSERT) '_id': id, 'a': a) FROM @t",
    "CREATE MATERIALIZED VIEW @kept AS SELECT a FROM @t",
)


def run(tenant: Tenant, *statements: str) -> Any:
    """`@` stands for the tenant's prefix."""
    return tenant.run(*(one.replace("@", tenant.target.prefix) for one in statements))


def programs(tenant: Tenant) -> set[str]:
    """Libraries and views by their own text."""
    rows = tenant.rows(
        "SELECT LIBRARY_NAME, LIBRARY_DEFINITION FROM information_schema.LIBRARIES"
        " WHERE LIBRARY_SCHEMA = DATABASE()"
    )
    return {f"{name}: {text}" for name, text in rows}


@pytest.mark.mysql
@pytest.mark.parametrize("prefix", ["", "wp_2_"])
async def test_libraries_and_duality_views_go_and_come_back(
    engine: MysqlEngine, mysql: Server, make_database: MakeDatabase, tmp_path: Path, prefix: str
) -> None:
    """All are in the schema and in backups; a restore drops those that are newer, and another's stay."""
    tenant = Tenant(mysql, make_database(mysql), prefix=prefix)
    run(tenant, *OBJECTS)
    others = Tenant(mysql, tenant.database, prefix="wp_3_")
    if prefix:
        run(others, LIBRARY.replace("{n}", "3"))
    was = programs(tenant)
    async with engine.open(tenant.target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        first = await session.mark()
        names = {(one.kind, one.name) for one in (await session.schema()).definitions}
        backup = await session.backup(tmp_path / "b.sql.zst", deadline_seconds=60)
    assert {
        ("library", f"{{prefix}}{'lib'}" if prefix else "lib"),
        ("view", f"{{prefix}}{'duo'}" if prefix else "duo"),
    } <= names
    run(
        tenant,
        "DROP LIBRARY @lib",
        LIBRARY.replace("{n}", "2"),
        "CREATE LIBRARY @later LANGUAGE JAVASCRIPT AS $$ x $$",
        "ALTER JSON DUALITY VIEW @duo AS SELECT JSON_DUALITY_OBJECT('_id': id) FROM @t",
        "DROP VIEW @kept",
    )
    other = MysqlEngine()
    async with other.open(tenant.target) as session:
        assert (await session.mark()).fingerprint != first.fingerprint
        mark = await session.restore(
            backup.path, sha256=backup.sha256, epoch=2, ledger=LEDGER, deadline_seconds=60
        )
    await other.aclose()
    assert mark.fingerprint == first.fingerprint
    assert programs(tenant) == was


@pytest.mark.mysql
async def test_a_copy_uses_its_own_libraries(
    engine: MysqlEngine, mysql: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Restored into another database, a function names that one's library."""
    tenant = Tenant(mysql, make_database(mysql))
    copy = Tenant(mysql, make_database(mysql))
    run(tenant, *OBJECTS)
    async with engine.open(tenant.target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        backup = await session.backup(tmp_path / "b.sql.zst", deadline_seconds=60)
    async with engine.open(copy.target) as session:
        await session.restore(
            backup.path, sha256=backup.sha256, epoch=1, ledger=LEDGER, deadline_seconds=60
        )
    ((text,),) = [row[2:3] for row in copy.rows("SHOW CREATE FUNCTION f")]
    assert f"`{copy.database}`.`lib`" in text and tenant.database not in text


@pytest.mark.mysql
async def test_a_library_is_dropped(
    engine: MysqlEngine, mysql: Server, make_database: MakeDatabase
) -> None:
    """`reset --drop-all` names it and drops it after what uses it."""
    tenant = Tenant(mysql, make_database(mysql))
    run(tenant, *OBJECTS)
    owned = [
        Owned(kind="view", name="duo"),
        Owned(kind="function", name="f"),
        Owned(kind="library", name="lib"),
    ]
    async with engine.open(tenant.target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        await session.drop(owned, epoch=1, ledger=LEDGER)
    assert {one.partition(":")[0] for one in programs(tenant)} == {"plain", "wasm"}


BOTH = {
    "view's algorithm": (
        ("CREATE TABLE @t (a INT)", "CREATE VIEW @v AS SELECT a FROM @t"),
        ("CREATE TABLE @t (a INT)", "CREATE ALGORITHM=TEMPTABLE VIEW @v AS SELECT a FROM @t"),
    ),
}
MARIADB = {
    "a sequence's step": (("CREATE SEQUENCE @s",), ("CREATE SEQUENCE @s INCREMENT 5",)),
    "a sequence's cache": (("CREATE SEQUENCE @s",), ("CREATE SEQUENCE @s NOCACHE",)),
    "an index's blocks": (
        ("CREATE TABLE @t (a INT, KEY k (a))",),
        ("CREATE TABLE @t (a INT, KEY k (a) KEY_BLOCK_SIZE=8)",),
    ),
}
MYSQL = {
    "a full-text parser": (
        ("CREATE TABLE @t (a TEXT, FULLTEXT KEY k (a))",),
        ("CREATE TABLE @t (a TEXT, FULLTEXT KEY k (a) WITH PARSER ngram)",),
    ),
    "a reference system": (
        ("CREATE TABLE @t (a POINT NOT NULL)",),
        ("CREATE TABLE @t (a POINT NOT NULL SRID 4326)",),
    ),
    "a materialized view": (
        ("CREATE TABLE @t (a INT)", "CREATE VIEW @v AS SELECT a FROM @t"),
        ("CREATE TABLE @t (a INT)", "CREATE MATERIALIZED VIEW @v AS SELECT a FROM @t"),
    ),
    "a library": ((LIBRARY.replace("{n}", "1"),), (LIBRARY.replace("{n}", "2"),)),
}
CASES = [
    pytest.param(server, what, marks=[pytest.mark.mysql] if server == "mysql" else [])
    for server, cases in (("mariadb", BOTH | MARIADB), ("mysql", BOTH | MYSQL))
    for what in cases
]


@pytest.mark.parametrize(("server", "what"), CASES)
async def test_what_differs_is_seen(
    request: pytest.FixtureRequest,
    engine: MysqlEngine,
    make_database: MakeDatabase,
    server: str,
    what: str,
) -> None:
    """Equal statements under two prefixes have one fingerprint, others another."""
    where: Server = request.getfixturevalue(server)
    database = make_database(where)
    one, two = (BOTH | (MARIADB if server == "mariadb" else MYSQL))[what]
    found = []
    for prefix, made in (("wp_1_", one), ("wp_2_", one), ("wp_3_", two)):
        tenant = Tenant(where, database, prefix=prefix)
        run(tenant, *made)
        async with engine.open(msgspec.structs.replace(tenant.target)) as session:
            found.append((await session.mark()).fingerprint)
    assert found[0] == found[1] != found[2]
