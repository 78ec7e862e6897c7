"""The test suite's own servers do what the fixtures promise."""

from __future__ import annotations

import pytest

from tests.conftest import MakeDatabase, MakePrivateMariadb
from tests.mariadbd import PrivateMariadb
from tests.servers import Server, as_server, connect, query


def test_each_database_is_new_and_its_own(sql_server: Server, make_database: MakeDatabase) -> None:
    """Two databases of one test have different names and nothing in them."""
    first, second = make_database(sql_server), make_database(sql_server, "acme")
    assert first != second
    assert second.startswith("acme_")
    query(sql_server, "CREATE TABLE a (id INT)", database=first)
    assert query(sql_server, "SHOW TABLES", database=second) == ()


def test_a_server_is_what_its_flavor_says(sql_server: Server) -> None:
    """`flavor` agrees with the server's own version string."""
    ((version,),) = query(sql_server, "SELECT version()")
    assert ("MariaDB" in version) == (sql_server.flavor == "mariadb")


def test_a_killed_private_server_comes_back_with_its_data(
    private_mariadb: MakePrivateMariadb,
) -> None:
    """kill() is a crash: the port goes dead, and start() recovers what was committed."""
    private = private_mariadb()
    server = as_server(private)
    query(server, "CREATE DATABASE kept")
    private.kill()
    assert private.pid is None
    with pytest.raises(Exception, match="Can't connect"), connect(server):
        pass
    private.start()
    assert query(server, "SHOW DATABASES LIKE 'kept'") == (("kept",),)


def test_another_process_can_stop_a_private_server(private_mariadb: MakePrivateMariadb) -> None:
    """The folder is enough to stop a server: the controller stops what a worker started."""
    private = private_mariadb("--skip-innodb-doublewrite")
    PrivateMariadb(private.folder).stop()
    assert private.pid is None
