"""A ledger on a server: lost acknowledgements, cut and silent connections, restarts, and refusals by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import anyio.abc
import msgspec
import pytest

from ledger.drivers.mysql import MysqlConnection, open_connection
from ledger.drivers.mysql import connect as open_session
from ledger.drivers.mysql_errors import ConnectionLostError
from ledger.drivers.url import MysqlUrl, SecretSource
from ledger.errors import StoreError, StoreUnavailableError
from ledger.events import Failed
from ledger.stores import open_store
from ledger.stores.base import Append, Script, StoredProjection
from ledger.stores.mysql_server import WRITER
from tests.conftest import MakeDatabase, MakePrivateMariadb
from tests.servers import Server, as_server, connect, query
from tests.stores.ledgers import Place, audit, new_event, read_all, request, server_place

Fault = Literal["cut_before", "cut_after", "silent_after"]


class Proxy:
    """Between store and server. When a packet holds `trigger`, `fault` happens, once.

    `cut_before` drops it and both connections; `cut_after` lets the server do it and
    drops the answer with the connections; `silent_after` drops the answer only.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.port = 0
        self.trigger = b""
        self.fault: Fault = "cut_before"
        self.fired = 0

    def arm(self, trigger: bytes, fault: Fault) -> None:
        """Let the next packet that holds `trigger` meet `fault`."""
        self.trigger, self.fault = trigger, fault

    async def handle(self, client: anyio.abc.SocketStream) -> None:
        """One connection, forwarded both ways until either side ends."""
        url = self._server.url
        stream = (
            await anyio.connect_unix(url.unix_socket)
            if url.unix_socket
            else await anyio.connect_tcp(url.host, url.port)
        )
        async with client, stream:
            silent = False

            async def to_client() -> None:
                async for data in stream:
                    if not silent:
                        await client.send(data)
                await client.aclose()

            async with anyio.create_task_group() as group:
                group.start_soon(to_client)
                try:
                    async for data in client:
                        if not self.trigger or self.trigger not in data:
                            await stream.send(data)
                            continue
                        self.trigger = b""
                        self.fired += 1
                        silent = True
                        if self.fault != "cut_before":
                            await stream.send(data)
                        if self.fault == "cut_after":
                            await anyio.sleep(0.2)
                        if self.fault != "silent_after":
                            break
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass  # One side went away: that is how a connection ends here.
                group.cancel_scope.cancel()


@asynccontextmanager
async def proxied(server: Server) -> AsyncIterator[tuple[Proxy, MysqlUrl]]:
    """A proxy, and the address that leads through it."""
    proxy = Proxy(server)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, proxy.handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        url = msgspec.structs.replace(server.url, host="127.0.0.1", port=port, unix_socket=None)
        yield proxy, url
        group.cancel_scope.cancel()


@asynccontextmanager
async def stopped_append(server: Server, database: str) -> AsyncIterator[MysqlConnection]:
    """What a store's connection is while its process is stopped: idle, with the head row's lock."""
    connection = await open_connection(server.url_for(database), server.secret, program=WRITER)
    try:
        await connection.begin()
        await connection.fetch("SELECT seq FROM head FOR UPDATE")
        yield connection
    finally:
        await connection.aclose()


@pytest.fixture
def place(sql_server: Server, make_database: MakeDatabase) -> Place:
    """An empty database."""
    return server_place(sql_server, make_database(sql_server))


@pytest.mark.parametrize("fault", ["cut_before", "cut_after"])
@pytest.mark.parametrize("trigger", [b"FOR UPDATE", b"INSERT INTO", b"UPDATE head", b"COMMIT"])
async def test_a_lost_connection_is_settled_by_the_hash(
    place: Place, trigger: bytes, fault: Fault
) -> None:
    """Cut at any point of an append, the lost COMMIT acknowledgement included: recorded once, and told."""
    assert place.server is not None
    async with proxied(place.server) as (proxy, url):
        url = msgspec.structs.replace(url, database=place.url.database)  # type: ignore[union-attr]
        async with open_store(url, place.server.secret, create=True) as store:
            await store.append(request("tenant/a"))
            proxy.arm(trigger, fault)
            told = await store.append(
                Append(
                    stream="tenant/a",
                    events=(new_event(), new_event()),
                    scripts=(Script(sha256="a", content="x"),),
                )
            )
            assert proxy.fired == 1
            assert [event.seq for event in told] == [2, 3]
            assert await audit(store) == 3
            proxy.arm(b"SELECT seq, hash FROM head", fault)
            assert (await store.head()).seq == 3
            assert proxy.fired == 2


async def test_a_silent_server_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A COMMIT whose answer never comes ends at its deadline, is settled on a new connection, and told."""
    monkeypatch.setattr("ledger.stores.mysql.QUERY_SECONDS", 0.5)
    assert place.server is not None
    async with proxied(place.server) as (proxy, url):
        url = msgspec.structs.replace(url, database=place.url.database)  # type: ignore[union-attr]
        async with open_store(url, place.server.secret, create=True) as store:
            proxy.arm(b"COMMIT", "silent_after")
            told = await store.append(request("tenant/a", 2, expected=0))
            assert proxy.fired == 1
            assert [event.seq for event in told] == [1, 2]
            assert await audit(store) == 2


async def test_a_projection_is_saved_over_a_lost_connection(place: Place) -> None:
    """A cut while a projection is saved: done again; whatever it says, no half of it is there."""
    assert place.server is not None
    rows = [StoredProjection(key="k", state=b"1"), StoredProjection(key="l", state=b"2")]
    async with proxied(place.server) as (proxy, url):
        url = msgspec.structs.replace(url, database=place.url.database)  # type: ignore[union-attr]
        async with open_store(url, place.server.secret, create=True) as store:
            proxy.arm(b"COMMIT", "cut_before")
            assert await store.save_projection("p", base_seq=0, seq=1, changed=rows)
            assert proxy.fired == 1
            assert await store.load_projection("p") == (1, rows)


async def test_a_locked_head_is_waited_for(place: Place) -> None:
    """An append waits while another session holds the head row, over the server's own lock time-out."""
    async with place.open() as store:
        assert place.server is not None
        with connect(place.server, place.url.database) as other:  # type: ignore[union-attr]
            cursor = other.cursor()
            cursor.execute("START TRANSACTION")
            cursor.execute("SELECT seq FROM head FOR UPDATE")
            async with anyio.create_task_group() as group:
                group.start_soon(store.append, request("tenant/a"))
                # innodb_lock_wait_timeout is 5 s.
                await anyio.sleep(5.5)
                assert await audit(store) == 0
                cursor.execute("ROLLBACK")
        assert await audit(store) == 1


@pytest.mark.mysql
async def test_an_append_that_stands_still_is_ended_with_the_ledgers_own_rights(
    mysql: Server, make_database: MakeDatabase
) -> None:
    """A store's connection is idle in its transaction on MySQL, which does not end it by itself: an
    account that may do no more than a ledger takes ends it, and no other connection."""
    database = make_database(mysql)
    account = f"only_{database[-12:]}"
    async with server_place(mysql, database).open():
        query(mysql, f"CREATE USER {account}@'%'")
    query(
        mysql,
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, TRIGGER"
        f" ON `{database}`.* TO {account}@'%'",
    )
    limited = msgspec.structs.replace(
        mysql, url=msgspec.structs.replace(mysql.url, user=account), secret=SecretSource()
    )
    try:
        place = server_place(limited, database)
        async with (
            place.open() as store,
            open_session(limited.url_for(database), limited.secret) as idle,
            stopped_append(limited, database) as stopped,
        ):
            assert (await store.append(request("tenant/a")))[0].seq == 1
            assert await idle.fetch("SELECT 1") == [(1,)]
            with pytest.raises(ConnectionLostError):
                await stopped.fetch("SELECT 1")
            assert await audit(store) == 1
    finally:
        query(mysql, f"DROP USER {account}@'%'")


async def test_whoever_else_holds_the_head_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No runner of ours: it is left alone; the error says who it is, where, and what to do."""
    monkeypatch.setattr("ledger.stores.mysql.WRITE_SECONDS", 1.0)
    assert place.server is not None
    async with place.open() as store:
        await store.append(request("tenant/a"))
        with connect(place.server, place.url.database) as other:  # type: ignore[union-attr]
            cursor = other.cursor()
            cursor.execute("SELECT CONNECTION_ID()")
            ((thread,),) = cursor.fetchall()
            cursor.execute("START TRANSACTION")
            cursor.execute("SELECT seq FROM head FOR UPDATE")
            with pytest.raises(StoreUnavailableError) as caught:
                await store.append(request("tenant/a"))
            said = str(caught.value)
            assert "another session holds the ledger's lock" in said
            assert f"connection {thread} ({place.server.url.user}@" in said
            assert f"KILL {thread}" in caught.value.hint
            assert "kill -CONT" in caught.value.hint
            cursor.execute("ROLLBACK")
        await store.append(request("tenant/a"))
        assert await audit(store) == 2


async def test_a_server_restart_is_sat_out(private_mariadb: MakePrivateMariadb) -> None:
    """The server is killed -9 and started again during appends: all told, none twice."""
    private = private_mariadb()
    server = as_server(private)
    query(server, "CREATE DATABASE kept")
    place = server_place(server, "kept")
    async with place.open() as store:
        seqs: list[int] = []
        under_way = anyio.Event()

        async def one(index: int) -> None:
            for _ in range(30):
                seqs.extend(event.seq for event in await store.append(request(f"t/{index}")))
                if len(seqs) >= 20:
                    under_way.set()
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as group:
            for index in range(5):
                group.start_soon(one, index)
            await under_way.wait()
            await anyio.to_thread.run_sync(private.kill)
            assert len(seqs) < 150
            await anyio.to_thread.run_sync(private.start)
        assert sorted(seqs) == list(range(1, 151))
        assert await audit(store) == 150


async def test_a_packet_limit_is_kept(private_mariadb: MakePrivateMariadb) -> None:
    """With a small max_allowed_packet, large batches are split; one event that cannot fit is refused by name."""
    server = as_server(private_mariadb("--max-allowed-packet=1M"))
    query(server, "CREATE DATABASE small")

    def failure(characters: int) -> Append:
        message = "é'\"" * (characters // 3)
        event = Failed(command="migrate", error="x", message=message)
        return Append(stream="tenant/a", events=tuple(new_event(event) for _ in range(4)))

    async with server_place(server, "small").open() as store:
        await store.append(failure(250_000))
        with pytest.raises(StoreError, match=r"max_allowed_packet \(1,048,576 bytes\)"):
            await store.append(failure(1_500_000))
        text = Script(sha256="a", content="x" * 1_500_000)
        with pytest.raises(StoreError, match="max_allowed_packet"):
            await store.append(Append(stream="tenant/a", events=(), scripts=(text,)))
        assert await audit(store) == 4


async def test_the_database_is_made_too(place: Place) -> None:
    """`create` makes the database itself where the user may."""
    assert place.server is not None
    name = str(place.url.database)  # type: ignore[union-attr]
    query(place.server, f"DROP DATABASE `{name}`")
    with pytest.raises(StoreUnavailableError) as caught:
        async with place.open(create=False):
            pass
    assert "ledger migrate" in caught.value.hint
    async with place.open() as store:
        assert await audit(store) == 0


async def test_another_database_is_refused(place: Place) -> None:
    """Tables by our names that are not a ledger's are left alone."""
    place.execute("CREATE TABLE events (id INT)")
    for create in (True, False):
        with pytest.raises(StoreUnavailableError, match="is not a ledger"):
            async with place.open(create=create):
                pass
    assert place.execute("SHOW TABLES") == [("events",)]


async def test_making_that_was_cut_short_is_finished(place: Place) -> None:
    """A database in which only some tables were made is no ledger yet; `create` finishes it."""
    async with place.open():
        pass
    place.execute(
        "DROP TRIGGER scripts_refuse_delete",
        "DROP TABLE events",
        "DELETE FROM meta WHERE `key` = 'schema'",
    )
    with pytest.raises(StoreUnavailableError, match="there is no ledger"):
        async with place.open(create=False):
            pass
    async with place.open() as store:
        await store.append(request("tenant/a"))
        assert await audit(store) == 1
    assert len(place.execute("SHOW TRIGGERS")) == 10


@pytest.mark.parametrize(
    ("granted", "says"),
    [
        ("SELECT, INSERT, UPDATE, DELETE, CREATE", "GRANT TRIGGER ON"),
        (
            "SELECT",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW, DROP, ALTER, TRIGGER ON",
        ),
    ],
)
async def test_a_missing_privilege_is_named(place: Place, granted: str, says: str) -> None:
    """A user who may not make triggers, or tables, is told the GRANT; no ledger without triggers is made."""
    server = place.server
    assert server is not None
    name = str(place.url.database)  # type: ignore[union-attr]
    user = name[:30]
    query(server, f"CREATE USER '{user}'@'%'")
    try:
        query(server, f"GRANT {granted} ON `{name}`.* TO '{user}'@'%'")
        url = msgspec.structs.replace(server.url_for(name), user=user)
        with pytest.raises(StoreUnavailableError) as caught:
            async with open_store(url, SecretSource(), create=True):
                pass
        assert says in caught.value.hint
        with pytest.raises(StoreUnavailableError, match="there is no ledger"):
            async with place.open(create=False):
                pass
    finally:
        query(server, f"DROP USER '{user}'@'%'")


async def test_a_server_that_is_not_there(private_mariadb: MakePrivateMariadb) -> None:
    """Opening fails at once with the address; a read-only server is named as such."""
    private = private_mariadb()
    server = as_server(private)
    query(server, "CREATE DATABASE kept")
    place = server_place(server, "kept")
    async with place.open() as store:
        await store.append(request("tenant/a"))
        user = msgspec.structs.replace(server.url_for("kept"), user="app")
        query(server, "CREATE USER 'app'@'%'")
        query(server, "GRANT SELECT, INSERT, UPDATE, DELETE ON kept.* TO 'app'@'%'")
        query(server, "SET GLOBAL read_only = 1")
        async with open_store(user, SecretSource()) as reader:
            assert await audit(reader) == 1
            with pytest.raises(StoreUnavailableError, match="is read-only"):
                await reader.append(request("tenant/a"))
        query(server, "SET GLOBAL read_only = 0")
    private.stop()
    with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{private.port}"):
        async with place.open():
            pass


async def test_a_galera_cluster_is_refused(private_mariadb: MakePrivateMariadb) -> None:
    """wsrep_on: two nodes could commit one seq, so that no ledger is made or opened there."""
    server = as_server(
        private_mariadb("--wsrep-on=ON", "--wsrep-provider=none", "--binlog-format=ROW")
    )
    query(server, "CREATE DATABASE cluster")
    with pytest.raises(StoreUnavailableError, match="Galera"):
        async with server_place(server, "cluster").open():
            pass
    assert query(server, "SHOW TABLES", database="cluster") == ()


async def test_reads_do_not_disturb_each_other(place: Place) -> None:
    """Several readers and an appender at the same time share the connections without mixing answers."""
    async with place.open() as store:
        for index in range(10):
            await store.append(request(f"tenant/{index}", 10))
        counts: list[int] = []

        async def reader() -> None:
            counts.append(len([e for e in await read_all(store, batch=7) if e.seq <= 100]))
            assert (await store.head()).seq >= 100

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(reader)
                group.start_soon(store.append, request("tenant/new"))
        assert counts == [100] * 8
