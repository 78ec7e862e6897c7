"""What a connection does with statements: the traps of aiomysql, against real servers."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from ledger.drivers.mysql import connect, quote_identifier
from ledger.drivers.mysql_errors import (
    ConnectionLostError,
    ConnectRefusedError,
    QueryError,
    QueryTimeoutError,
)
from ledger.drivers.url import MysqlUrl
from tests.conftest import MakeDatabase, MakePrivateMariadb
from tests.servers import Server, as_server, query
from tests.servers import connect as plain_connect

SLOW = "SELECT BENCHMARK(900000000, SHA2('slow_{mark}', 512))"
"""Busy for minutes; unlike SLEEP it does not look whether its client is still there."""


def _running(server: Server, mark: str) -> bool:
    rows = query(
        server,
        "SELECT info FROM information_schema.processlist WHERE info LIKE 'SELECT BENCHMARK%'",
    )
    return any(mark in str(info) for (info,) in rows)


async def _eventually(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.05)


async def test_one_statement_only(sql_server: Server) -> None:
    """A second statement behind a semicolon is a syntax error, not a second effect."""
    async with connect(sql_server.url, sql_server.secret) as connection:
        with pytest.raises(QueryError) as caught:
            await connection.execute("SELECT 1; SELECT 2")
        assert caught.value.code == 1064


async def test_percent_signs_are_text(sql_server: Server) -> None:
    """Without arguments nothing in the text is a placeholder."""
    async with connect(sql_server.url, sql_server.secret) as connection:
        assert await connection.fetch("SELECT '100%', '%s', '%(a)s'") == [("100%", "%s", "%(a)s")]


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"])
async def test_values_arrive_as_they_are(sql_server: Server, mode: str) -> None:
    """Text and bytes of any content survive as parameters, whatever the sql_mode."""
    values = ('it\'s a \\ "quote" 100%', b"\x00'\\\xff%", None, 7, "snow ☃ 𝄞")
    async with connect(
        sql_server.url, sql_server.secret, session=[f"SET SESSION sql_mode = '{mode}'"]
    ) as connection:
        ((text, data, nothing, number, snow),) = await connection.fetch(
            "SELECT %s, %s, %s, %s, %s", values
        )
    assert (text, nothing, number, snow) == (values[0], None, 7, values[4])
    assert (data if isinstance(data, bytes) else data.encode("latin-1")) == values[1]


async def test_session_is_as_promised(sql_server: Server) -> None:
    """Autocommit, utf8mb4 with the collation of the server's own client, a short lock_wait_timeout."""
    async with connect(sql_server.url, sql_server.secret, lock_wait_seconds=3) as connection:
        rows = await connection.fetch(
            "SELECT @@autocommit, @@character_set_client, @@collation_connection, @@lock_wait_timeout"
        )
    assert rows == [(1, "utf8mb4", sql_server.collation, 3)]


async def test_deadline_ends_the_statement(sql_server: Server) -> None:
    """After the deadline the statement is gone from the server too, and the connection closed."""
    async with connect(sql_server.url, sql_server.secret) as connection:
        with pytest.raises(QueryTimeoutError):
            await connection.fetch(SLOW.format(mark="late"), seconds=0.3)
        assert connection.closed
    await _eventually(lambda: not _running(sql_server, "slow_late"))


async def test_cancellation_ends_the_statement(sql_server: Server) -> None:
    """Closing the socket would let it run on; it is killed from a second connection."""
    async with connect(sql_server.url, sql_server.secret) as connection:
        with anyio.move_on_after(0.3) as scope:
            await connection.fetch(SLOW.format(mark="cancelled"))
        assert scope.cancelled_caught
        assert connection.closed
    await _eventually(lambda: not _running(sql_server, "slow_cancelled"))


async def test_lost_connection_stays_lost(sql_server: Server) -> None:
    """A killed session is a typed error, and is not silently replaced by one without its locks."""
    async with connect(sql_server.url, sql_server.secret) as connection:
        assert await connection.fetch("SELECT GET_LOCK('of the test', 0)") == [(1,)]
        async with connect(sql_server.url, sql_server.secret) as other:
            await other.kill(connection.thread_id)
            await other.kill(connection.thread_id)
        for _ in range(2):
            with pytest.raises(ConnectionLostError):
                await connection.fetch("SELECT 1")
        assert connection.closed


async def test_warnings_are_told(sql_server: Server) -> None:
    """The last statement's warnings, with level and code; none where there were none."""
    async with connect(
        sql_server.url, sql_server.secret, session=["SET SESSION sql_mode = ''"]
    ) as connection:
        await connection.execute("DROP TABLE IF EXISTS test_nowhere.nothing")
        (warning,) = await connection.warnings()
        assert warning.level == "Note" and warning.code in (1049, 1051)
        assert str(warning).startswith(f"Note {warning.code}: ")
        await connection.execute("SELECT 1")
        assert await connection.warnings() == ()


async def test_error_behind_the_first_result(
    sql_server: Server, make_database: MakeDatabase
) -> None:
    """A procedure that fails after its first result has failed."""
    name = make_database(sql_server)
    async with connect(sql_server.url, sql_server.secret, database=name) as connection:
        await connection.execute("CREATE PROCEDURE p() BEGIN SELECT 1; SELECT * FROM missing; END")
        with pytest.raises(QueryError) as caught:
            await connection.execute("CALL p()")
        assert caught.value.code == 1146
        assert await connection.fetch("SELECT 2") == [(2,)]


async def test_executemany(sql_server: Server, make_database: MakeDatabase) -> None:
    """Rows by the thousand, in few statements."""
    name = make_database(sql_server)
    async with connect(sql_server.url, sql_server.secret, database=name) as connection:
        await connection.execute("CREATE TABLE t (a INT, b BLOB)")
        rows = [(number, bytes([number % 256])) for number in range(3000)]
        assert await connection.executemany("INSERT INTO t (a, b) VALUES (%s, %s)", rows) == 3000
        assert await connection.fetch("SELECT count(*), count(DISTINCT b) FROM t") == [(3000, 256)]


@pytest.mark.parametrize(
    ("change", "code"),
    [({"port": 1}, 2003), ({"database": "test_nowhere"}, 1049)],
)
async def test_refusals_have_codes(
    sql_server: Server, change: dict[str, object], code: int
) -> None:
    """What a caller needs to tell one refusal from another."""
    fields = {"host": sql_server.url.host, "port": sql_server.url.port, "user": sql_server.url.user}
    url = MysqlUrl(**(fields | change))  # type: ignore[arg-type]
    with pytest.raises(ConnectRefusedError) as caught:
        async with connect(url, sql_server.secret):
            pass
    assert caught.value.code == code


async def test_full_server_is_waited_for(private_mariadb: MakePrivateMariadb) -> None:
    """Too many connections: back off and take the first free place; or say so at the deadline."""
    server = as_server(private_mariadb("--max-connections=10"))
    query(server, "CREATE USER app")
    app = MysqlUrl(host="127.0.0.1", port=server.url.port, user="app")
    async with anyio.create_task_group() as tasks:
        full = anyio.Event()
        release = anyio.Event()

        async def hold() -> None:
            try:
                async with connect(app):
                    await release.wait()
            except ConnectRefusedError:
                full.set()

        for _ in range(12):
            tasks.start_soon(hold)
        await anyio.sleep(1)
        with pytest.raises(ConnectRefusedError) as caught:
            async with connect(app, connect_seconds=0.5):
                pass
        assert caught.value.code == 1040
        tasks.start_soon(_free_soon, release)
        async with connect(app, connect_seconds=20) as connection:
            assert await connection.fetch("SELECT 1") == [(1,)]


async def _free_soon(release: anyio.Event) -> None:
    await anyio.sleep(0.5)
    release.set()


def test_names_are_quoted() -> None:
    """Identifiers stand for themselves."""
    assert quote_identifier("a`b") == "`a``b`"
    for bad in ("", "a\0b"):
        with pytest.raises(ValueError):
            quote_identifier(bad)


async def test_socket_and_tcp(private_mariadb: MakePrivateMariadb) -> None:
    """unix_socket in the URL is used."""
    private = private_mariadb()
    server = as_server(private)
    with plain_connect(server) as raw, raw.cursor() as cursor:
        cursor.execute("SELECT @@socket")
        ((path,),) = cursor.fetchall()
    url = MysqlUrl(host="localhost", port=1, user="root", unix_socket=str(path))
    async with connect(url) as connection:
        assert await connection.fetch("SELECT 1") == [(1,)]
