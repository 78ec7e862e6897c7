"""What a connection gives away, and to whom: the traps of aiomysql, with servers that ask for too much."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest

from ledger.drivers.mysql import connect
from ledger.drivers.mysql_errors import ConnectionLostError, ConnectRefusedError
from ledger.drivers.url import MysqlUrl, Secret, SecretSource
from tests.certificates import make_certificates
from tests.conftest import MakePrivateMariadb
from tests.drivers.fake_mysql import OK, Wire, fake_server
from tests.servers import Server, as_server, queries, query

CANARY = "canary-5up3r-s3cret"


def _secret(text: str = CANARY) -> SecretSource:
    return SecretSource(value=Secret(text))


async def _refused(url: MysqlUrl, secret: SecretSource, **more: float) -> ConnectRefusedError:
    with pytest.raises(ConnectRefusedError) as caught:
        async with connect(url, secret, **more):  # type: ignore[arg-type]
            pass
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert CANARY not in shown
    return caught.value


@pytest.mark.parametrize("when", ["in the greeting", "by a switch"])
async def test_password_is_not_sent_in_clear(when: str) -> None:
    """A server that asks for mysql_clear_password without TLS gets nothing."""

    async def talk(wire: Wire) -> None:
        if when == "in the greeting":
            await wire.greet("mysql_clear_password")
        else:
            await wire.greet()
            await wire.send(b"\xfemysql_clear_password\0")
            await wire.receive()

    async with fake_server(talk) as (url, wires):
        error = await _refused(url, _secret())
    assert "in clear" in error.message
    assert CANARY.encode() not in wires[0].heard


async def test_ancient_hash_is_not_sent() -> None:
    """A server that asks for the password hash of MySQL 4.0, which is as good as the password, gets nothing."""

    async def talk(wire: Wire) -> None:
        await wire.greet()
        await wire.send(b"\xfe")
        await wire.receive()

    async with fake_server(talk) as (url, _):
        assert "4.0" in (await _refused(url, _secret())).message


async def test_tls_that_is_not_offered_is_refused() -> None:
    """Who asks for TLS does not fall back to clear text."""

    async def talk(wire: Wire) -> None:
        await wire.greet()

    async with fake_server(talk) as (url, wires):
        error = await _refused(msgspec.structs.replace(url, ssl=True), _secret())
    assert "TLS" in error.message
    assert wires[0].heard == b""


@pytest.mark.parametrize("greets", [False, True])
async def test_handshake_meets_its_deadline(greets: bool) -> None:
    """A server that accepts and then says nothing more does not hold us."""

    async def talk(wire: Wire) -> None:
        if greets:
            await wire.greet()
        await wire.receive()

    with anyio.fail_after(20):
        async with fake_server(talk) as (url, _):
            error = await _refused(url, _secret(), connect_seconds=0.3)
    assert "handshake" in error.message


async def test_a_server_of_another_kind_is_named() -> None:
    """What answers with something else is a typed error."""

    async def talk(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with fake_server(talk) as (url, _):
        await _refused(url, _secret())


async def test_no_local_file_is_sent(tmp_path: Path) -> None:
    """A server that answers a statement by asking for a local file gets none, and is left."""
    file = tmp_path / "precious"
    file.write_text(CANARY)

    async def talk(wire: Wire) -> None:
        await wire.greet()
        await wire.send(OK)
        await wire.receive()  # SET NAMES
        await wire.send(OK)
        await wire.receive()
        await wire.send(b"\xfb" + str(file).encode())
        await wire.receive()

    async with fake_server(talk) as (url, wires), connect(url, _secret("")) as connection:
        with pytest.raises(ConnectionLostError):
            await connection.execute("SELECT 1")
        assert connection.closed
    assert CANARY.encode() not in wires[0].heard


async def test_multi_statements_are_not_negotiated(sql_server: Server) -> None:
    """The capability is off from the first packet on."""
    seen = []

    async def talk(wire: Wire) -> None:
        seen.append(await wire.greet())

    async with fake_server(talk) as (url, _):
        await _refused(url, _secret())
    assert not int.from_bytes(seen[0][:4], "little") & (1 << 16)


@pytest.fixture
def account(sql_server: Server) -> Iterator[str]:
    """A fresh account's name; it is dropped at the end."""
    name = f"u_{secrets.token_hex(6)}"
    yield name
    query(sql_server, f"DROP USER IF EXISTS '{name}'@'%'")


def _create(server: Server, account: str, password: str, *, plugin: str = "") -> None:
    by = f"IDENTIFIED {plugin}BY '{password}'"
    queries(server, (f"CREATE USER '{account}'@'%' {by}",))


@pytest.mark.parametrize("password", [CANARY, "pässwörd-☃-\u00ff", "with 'quote\" and %s"])
async def test_any_password_works(sql_server: Server, account: str, password: str) -> None:
    """Passwords of any characters log in, with the server's own default plugin."""
    _create(sql_server, account, password.replace("'", "''"))
    url = msgspec.structs.replace(sql_server.url, user=account)
    async with connect(url, _secret(password)) as connection:
        assert await connection.fetch("SELECT 1") == [(1,)]


async def test_wrong_password_is_not_repeated(sql_server: Server, account: str) -> None:
    """The error has the server's words and code, and not the password."""
    _create(sql_server, account, "another")
    error = await _refused(msgspec.structs.replace(sql_server.url, user=account), _secret())
    assert error.code == 1045
    assert "Access denied" in error.message


@pytest.mark.parametrize("source", ["file", "command", "env"])
async def test_rotated_password_is_read_again(
    sql_server: Server,
    account: str,
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the password changed in the server and at its source, the next connection works."""
    file = tmp_path / "password"
    _create(sql_server, account, "first")
    file.write_text("first\n")
    monkeypatch.setenv("APP_PASSWORD", "first")
    secret = {
        "file": SecretSource(file=str(file)),
        "command": SecretSource(command=("cat", str(file))),
        "env": SecretSource(env="APP_PASSWORD"),
    }[source]
    url = msgspec.structs.replace(sql_server.url, user=account)
    async with connect(url, secret):
        pass
    query(sql_server, f"ALTER USER '{account}'@'%' IDENTIFIED BY 'second'")
    file.write_text("second\n")
    monkeypatch.setenv("APP_PASSWORD", "second")
    async with connect(url, secret) as connection:
        assert await connection.fetch("SELECT 1") == [(1,)]


@pytest.mark.mysql
async def test_caching_sha2_without_tls(mysql: Server) -> None:
    """The full exchange of caching_sha2_password goes through RSA where there is no TLS."""
    name = f"u_{secrets.token_hex(6)}"
    _create(mysql, name, CANARY, plugin="WITH caching_sha2_password ")
    try:
        query(mysql, "FLUSH PRIVILEGES")  # empties the cache of hashes
        url = msgspec.structs.replace(mysql.url, user=name)
        for _ in ("in full", "from the cache"):
            async with connect(url, _secret()) as connection:
                assert await connection.fetch("SELECT 1") == [(1,)]
    finally:
        query(mysql, f"DROP USER '{name}'@'%'")


@pytest.mark.mysql
async def test_certificate_of_another_is_refused(mysql: Server) -> None:
    """A server whose certificate nobody we trust has signed is not talked to."""
    error = await _refused(msgspec.structs.replace(mysql.url, ssl=True), _secret())
    assert "CERTIFICATE_VERIFY_FAILED" in error.message


async def test_tls_with_an_authority_of_ones_own(
    private_mariadb: MakePrivateMariadb, tmp_path: Path
) -> None:
    """With ssl_ca the connection is encrypted, and the certificate held to host and authority."""
    make_certificates(tmp_path)
    server = as_server(
        private_mariadb(
            f"--ssl-ca={tmp_path}/ca.pem",
            f"--ssl-cert={tmp_path}/cert.pem",
            f"--ssl-key={tmp_path}/key.pem",
        )
    )
    url = msgspec.structs.replace(server.url, ssl=True, ssl_ca=str(tmp_path / "ca.pem"))
    async with connect(url, server.secret) as connection:
        ((_, cipher),) = await connection.fetch("SHOW STATUS LIKE 'Ssl_cipher'")
        assert cipher
    query(server, "CREATE USER shown@'%' REQUIRE X509")
    named = msgspec.structs.replace(url, user="shown")
    assert (await _refused(named, SecretSource())).code == 1045
    cert, key = (str(tmp_path / f"client-{name}.pem") for name in ("cert", "key"))
    (tmp_path / "both.pem").write_bytes(Path(cert).read_bytes() + Path(key).read_bytes())
    for files in ((cert, key), (str(tmp_path / "both.pem"), None)):
        shown = msgspec.structs.replace(named, ssl_cert=files[0], ssl_key=files[1])
        async with connect(shown, SecretSource()) as connection:
            assert await connection.fetch("SELECT 1") == [(1,)]
    for one, word in ((str(tmp_path / "no.pem"), "cannot be read"), (cert, "cannot be used")):
        broken = msgspec.structs.replace(named, ssl_cert=cert, ssl_key=one)
        message = (await _refused(broken, _secret())).message
        assert word in message
        assert f"{one} (ssl_key)" in message
    elsewhere = msgspec.structs.replace(url, host="localhost")
    assert "CERTIFICATE_VERIFY_FAILED" in (await _refused(elsewhere, _secret())).message
