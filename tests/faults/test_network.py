"""Connections that are cut, swallowed or never answered, and servers that go away under a statement."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.conftest import MakePrivateServer
from tests.faults.conftest import MakeWorld
from tests.faults.proxy import proxy
from tests.faults.world import ServerWorld, State
from tests.programs import wait_for
from tests.servers import Server, as_server, connect, query, statements

ALL = ("migrate", "--all-tenants")
VERSIONS = ["001", "002", "003"]
KINDS = ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)]
SLOW = """\
-- step: Make it slowly
CREATE TABLE {prefix}slow AS SELECT SLEEP(2) AS x, 1 AS y;
-- step: Once only
UPDATE {prefix}slow SET y = y + 1;
-- migrate:down
DROP TABLE {prefix}slow;
"""

FULL = 12
"""Connections that a full server takes."""
TRIES = 3

_expected: dict[str, State] = {}


@pytest.fixture
def expected(on: str, make_world: MakeWorld) -> State:
    """An undisturbed fleet on a server."""
    if on not in _expected:
        world = make_world(on)
        world.ok(*ALL)
        _expected[on] = world.state()
    return _expected[on]


def of(world: object) -> ServerWorld:
    """The world as one on a server."""
    assert isinstance(world, ServerWorld)
    return world


@pytest.mark.fault(14)
@pytest.mark.parametrize("words", [b"ADD COLUMN", b"CREATE TABLE p1_log", b"INSERT INTO p2_log"])
def test_a_reset_in_a_statement_is_settled(
    words: bytes, on: str, own_server: Server, make_world: MakeWorld, expected: State
) -> None:
    """The server has the statement, its answer never comes: the next run finds out whether it landed."""
    with proxy(own_server.url.port) as between:
        world = make_world(on, port=between.port, local_ledger=True)
        between.cut_after(lambda sent: words in sent)
        ended = world.run(*ALL)
        assert ended.code == 3, ended
        assert "the connection was lost" in ended.out
        world.ok(*ALL)
        world.check(expected, VERSIONS)


@pytest.mark.fault(15)
@pytest.mark.parametrize("passing", range(1, 12, 2))
def test_a_lost_acknowledgement_of_a_commit(
    passing: int, on: str, own_server: Server, make_world: MakeWorld, expected: State
) -> None:
    """COMMIT arrives, its answer does not: of the ledger or of a tenant, nothing is written twice."""
    left = [passing]

    def nth_commit(sent: bytes) -> bool:
        left[0] -= b"COMMIT" in sent
        return left[0] == 0

    with proxy(own_server.url.port) as between:
        world = make_world(on, port=between.port)
        between.cut_after(nth_commit)
        world.run(*ALL)
        between.cut_after(None)
        world.ok(*ALL)
        world.check(expected, VERSIONS)


@pytest.mark.fault(16, 17)
def test_a_server_that_accepts_and_never_answers(
    on: str, own_server: Server, make_world: MakeWorld
) -> None:
    """A black hole: every tenant behind it is named within the time that connecting may take."""
    with proxy(own_server.url.port) as between:
        head = "[timeouts]\nconnect_seconds = 1.0\n"
        world = make_world(on, port=between.port, local_ledger=True, head=head)
        between.swallow()
        ended = world.run(*ALL)
        assert ended.code == 3, ended
        for tenant in world.tenants:
            assert f"{tenant}: unreachable" in ended.out
        assert "handshake in time" in ended.out
        between.swallow(silent=False)
        world.ok(*ALL)


@pytest.mark.fault(32)
def test_a_tenant_that_is_back_is_not_called_unreachable(
    on: str, own_server: Server, make_world: MakeWorld
) -> None:
    """With nothing to apply, too: the next run looks, and says so."""
    with proxy(own_server.url.port) as between:
        head = "[timeouts]\nconnect_seconds = 1.0\n"
        world = make_world(on, port=between.port, local_ledger=True, head=head)
        world.ok(*ALL)
        between.swallow()
        between.cut()
        assert world.run(*ALL).code == 3
        states = world.ok("status", "--format", "json").json()["tenants"]
        assert {row["state"] for row in states} == {"unreachable"}
        between.swallow(silent=False)
        between.cut()
        world.ok(*ALL)
        world.check(None, VERSIONS)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.fault(16)
def test_a_black_hole_in_a_statement_ends_with_its_deadline(
    on: str, own_server: Server, make_world: MakeWorld, expected: State
) -> None:
    """Nothing comes back any more: the statement's time limit ends the wait, the next run settles it."""
    with proxy(own_server.url.port) as between:
        head = "[timeouts]\nstatement_seconds = 2.0\nconnect_seconds = 2.0\n"
        world = make_world(on, port=between.port, local_ledger=True, head=head)

        def swallow(sent: bytes) -> bool:
            if b"ADD COLUMN" in sent:
                between.swallow()
            return False

        between.cut_after(swallow)
        # Its longest waits, of 30 s each, may come one after the other.
        ended = world.start(*ALL).wait(150)
        assert ended.code == 3, ended
        between.cut_after(None)
        between.swallow(silent=False)
        between.cut()
        world.ok(*ALL)
        world.check(expected, VERSIONS)


@pytest.mark.fault(5)
@pytest.mark.parametrize("kind", ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def test_killed_while_the_server_runs_the_statement(kind: str, make_world: MakeWorld) -> None:
    """The statement runs on without its client; the next run waits for its end and goes on from there."""
    world = of(make_world(kind, migrations={"001_slow.sql": SLOW}))
    running = world.start(*ALL)
    wait_for(lambda: world.running("CREATE%SLEEP"), "the statement to run")
    running.send(signal.SIGKILL)
    world.ok(*ALL)
    world.check(None, ["001"])
    for tenant in world.tenants:
        prefix = world.place(tenant)[1]
        # MySQL's SLEEP ends early, with 1, when its client is gone; the table is made all the same.
        assert world.sql(tenant, f"SELECT y FROM {prefix}slow") == [(2,)]


@pytest.mark.fault(5)
def test_a_lock_outlives_its_killed_client_until_the_statement_is_over(
    sql_server: Server, make_database: Callable[..., str]
) -> None:
    """What the whole protocol rests on: GET_LOCK is not free before the old statement has ended."""
    database, late = make_database(sql_server), "CREATE TABLE late"
    with connect(sql_server, database) as watcher, watcher.cursor() as cursor:
        with connect(sql_server, database) as client, client.cursor() as busy:
            busy.execute("SELECT GET_LOCK('faults', 0)")
            client._execute_command(3, f"{late} AS SELECT SLEEP(3) AS x")  # type: ignore[attr-defined]
            client._force_close()  # type: ignore[attr-defined]
        seen_running = False
        while True:
            cursor.execute("SELECT GET_LOCK('faults', 0)")
            ((got,),) = cursor.fetchall()
            if got == 1:
                break
            seen_running = seen_running or bool(statements(sql_server, (database,), late))
            time.sleep(0.05)
        assert seen_running
        cursor.execute("SHOW TABLES LIKE 'late'")
        assert len(cursor.fetchall()) in (0, 1)
        assert statements(sql_server, (database,), late) == []


@pytest.mark.fault(18, 19)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_goes_away_in_the_middle_of_an_alter(
    how: signal.Signals, kind: str, private_server: MakePrivateServer, make_world: MakeWorld
) -> None:
    """Restarted or killed while it copies a table: the next run finds the table old or new, and goes on."""
    private = private_server(kind)
    server = as_server(private)
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    number = "a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d"
    numbers = ", ".join(f"({digits}) AS {name}" for name in "abcef")
    big = (
        "-- step: Many\nCREATE TABLE {prefix}big (id INT PRIMARY KEY, words CHAR(200), n INT);\n"
        f"INSERT INTO {{prefix}}big SELECT {number}, {number}, 0 FROM {numbers} WHERE f.d < 6;\n"
    )
    alter = (
        "-- step: Alter\nALTER TABLE {prefix}big ADD COLUMN more CHAR(10) DEFAULT 'x' FIRST,"
        " ALGORITHM=COPY;\nUPDATE {prefix}big SET n = n + 1;\n"
    )
    world = of(
        make_world(
            kind,
            server=server,
            local_ledger=True,
            head='backup = "never"\n',
            migrations={"001_big.sql": big, "002_alter.sql": alter},
        )
    )
    world.ok("migrate", "--all-tenants", "--to", "001")
    running = world.start(*ALL)
    wait_for(lambda: world.running("ALTER TABLE") or running.over, "the ALTER to run")
    if how == signal.SIGTERM:
        private.stop()
    else:
        private.kill()
    private.start()
    assert running.wait().code == 3
    world.ok(*ALL)
    world.check(None, ["001", "002"])
    for tenant in world.tenants:
        prefix = world.place(tenant)[1]
        told = f"SELECT count(*), min(n), max(n), min(more) FROM {prefix}big"
        assert world.sql(tenant, told) == [(60000, 1, 1, "x")]


def hold(world: ServerWorld, *statements: str) -> Callable[[], None]:
    """Run statements on the tenant `whole` in a transaction that stays open until the result is called."""
    connection = connect(world.server, world.whole)
    held = connection.__enter__()
    held.begin()
    with held.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            cursor.fetchall()

    def release() -> None:
        connection.__exit__(None, None, None)

    return release


@pytest.mark.fault(35)
def test_a_metadata_lock_that_is_held_for_a_while(
    on: str, make_world: MakeWorld, expected: State
) -> None:
    """A long transaction of the application: the ALTER gives up soon, tries again, and gets through."""
    world = of(make_world(on))
    world.ok("migrate", "--all-tenants", "--to", "001")
    release = hold(world, "SELECT * FROM notes")
    timer = threading.Timer(7.0, release)
    timer.start()
    world.ok(*ALL)
    timer.join()
    world.check(expected, VERSIONS)


@pytest.mark.fault(36)
def test_a_row_lock_that_is_held_for_a_while(
    on: str, make_world: MakeWorld, expected: State
) -> None:
    """1205: the whole transaction is rolled back and tried again."""
    world = of(make_world(on))
    world.ok("migrate", "--all-tenants", "--to", "001")
    release = hold(world, "SELECT * FROM notes WHERE id = 1 FOR UPDATE")
    timer = threading.Timer(7.0, release)
    timer.start()
    world.ok(*ALL)
    timer.join()
    world.check(expected, VERSIONS)


@pytest.mark.fault(37)
def test_too_many_connections_are_waited_for(
    on: str, private_server: MakePrivateServer, make_world: MakeWorld, expected: State
) -> None:
    """A full server: back off until there is room."""
    server = as_server(private_server(on))
    world = of(make_world(on, server=server, local_ledger=True, head='backup = "never"\n'))
    # Not root's: for it a server keeps one connection more than it has.
    plain(world, "plain", "")
    query(server, f"SET GLOBAL max_connections = {FULL}")
    with ExitStack() as others:
        held = [others.enter_context(connect(server)) for _ in range(FULL)]
        with held[0].cursor() as cursor:

            def refused() -> int:
                cursor.execute("SHOW GLOBAL STATUS LIKE 'Connection_errors_max_connections'")
                ((_, count),) = cursor.fetchall()
                return int(count)

            running = world.start(*ALL)
            wait_for(lambda: refused() >= TRIES or running.over, "it to be refused again and again")
        assert not running.over, running.wait()
    assert running.wait().code == 0
    world.check(expected, VERSIONS)


@pytest.mark.fault(38)
def test_a_password_that_was_rotated_is_read_once_more(
    on: str, own_server: Server, make_world: MakeWorld, expected: State
) -> None:
    """The first answer of the secret's source is the old password; asked again it gives the new one."""
    world = of(make_world(on, local_ledger=True))
    user = f"rotated_{world.whole[-8:]}"
    plain(world, user, "old-word")
    config = world.root / "ledger.toml"
    script = world.root / "secret"
    script.write_text(
        "#!/bin/sh\nif [ -e asked ]; then echo new-word; else touch asked; echo old-word; fi\n"
    )
    script.chmod(0o700)
    config.write_text(
        config.read_text().replace("[[tenants]]", f'[[tenants]]\npassword_command = ["{script}"]')
    )
    query(own_server, f"ALTER USER {user}@'%' IDENTIFIED BY 'new-word'")
    try:
        world.ok(*ALL)
        world.check(expected, VERSIONS)
    finally:
        query(own_server, f"DROP USER {user}@'%'")


def plain(world: ServerWorld, user: str, password: str) -> None:
    """Let the world's tenants be reached by a user who has no more than their databases."""
    query(world.server, f"CREATE USER {user}@'%' IDENTIFIED BY '{password}'")
    for database in (world.whole, world.shared):
        query(world.server, f"GRANT ALL ON `{database}`.* TO {user}@'%'")
    config = world.root / "ledger.toml"
    config.write_text(config.read_text().replace("mysql://root@", f"mysql://{user}@"))
