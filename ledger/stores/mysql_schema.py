"""The tables of a MySQL or MariaDB ledger: made, recognised, and brought forward.

DDL commits by itself here, so that a ledger is made of statements that may be
repeated. Invariant: the schema number is written last; a database without it is
no ledger yet, and the same command again finishes it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Final

from ledger.dialects.mysql.dialect import MYSQL
from ledger.drivers.mysql import (
    ConnectRefusedError,
    DriverError,
    MysqlConnection,
    QueryError,
)
from ledger.drivers.url import MysqlUrl
from ledger.errors import NoLedgerError, StoreUnavailableError
from ledger.events import GENESIS_HASH
from ledger.stores.base import LEDGER_SCHEMA, MAKE_HINT
from ledger.stores.chain import timestamp
from ledger.stores.migrations import CREATED_KEY, ID_KEY, SCHEMA_KEY, Upgrade, pending

_TEXT: Final = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_ASCII: Final = "CHARACTER SET ascii COLLATE ascii_bin"
_TABLE: Final = (
    "ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
)

# `meta` comes first: a database that has another of these tables and no `meta` is somebody else's.
TABLES: Final = (
    f"""
CREATE TABLE IF NOT EXISTS meta (
    `key` VARCHAR(255) {_TEXT} NOT NULL PRIMARY KEY,
    value VARCHAR(255) {_TEXT} NOT NULL
) {_TABLE}""",
    f"""
CREATE TABLE IF NOT EXISTS head (
    id   TINYINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  BIGINT NOT NULL,
    hash CHAR(64) {_ASCII} NOT NULL
) {_TABLE}""",
    f"""
CREATE TABLE IF NOT EXISTS scripts (
    sha256    CHAR(64) {_ASCII} NOT NULL PRIMARY KEY,
    algorithm VARCHAR(32) {_ASCII} NOT NULL,
    content   LONGTEXT {_TEXT} NOT NULL
) {_TABLE}""",
    f"""
CREATE TABLE IF NOT EXISTS projections (
    name    VARCHAR(128) {_TEXT} NOT NULL,
    `key`   VARCHAR(512) {_TEXT} NOT NULL,
    state   LONGBLOB NOT NULL,
    seq     BIGINT NOT NULL,
    PRIMARY KEY (name, `key`)
) {_TABLE}""",
    f"""
CREATE TABLE IF NOT EXISTS events (
    seq       BIGINT NOT NULL PRIMARY KEY,
    stream    VARCHAR(512) {_TEXT} NOT NULL,
    version   INT NOT NULL,
    event_id  VARCHAR(64) {_ASCII} NOT NULL,
    type      VARCHAR(32) {_ASCII} NOT NULL,
    at        CHAR(27) {_ASCII} NOT NULL,
    run       VARCHAR(64) {_ASCII} NOT NULL,
    actor     VARCHAR(255) {_TEXT} NOT NULL,
    tenant    VARCHAR(512) {_TEXT},
    body      LONGTEXT {_TEXT} NOT NULL,
    prev_hash CHAR(64) {_ASCII} NOT NULL,
    hash      CHAR(64) {_ASCII} NOT NULL,
    UNIQUE KEY stream_version (stream, version),
    UNIQUE KEY event_id (event_id)
) {_TABLE}""",
)
_NAMES: Final = frozenset({"meta", "head", "scripts", "projections", "events"})


def _refusing(table: str, action: str) -> str:
    return f"""
CREATE TRIGGER IF NOT EXISTS {table}_refuse_{action.lower()} BEFORE {action} ON {table}
FOR EACH ROW SIGNAL SQLSTATE '45000'
SET MESSAGE_TEXT = 'the ledger is append-only: {action} on {table} is refused'"""


TRIGGERS: Final = tuple(
    _refusing(table, action) for table in ("events", "scripts") for action in ("UPDATE", "DELETE")
)

_INSERT_HEAD: Final = "INSERT IGNORE INTO head (id, seq, hash) VALUES (1, 0, %s)"
_INSERT_META: Final = "INSERT IGNORE INTO meta (`key`, value) VALUES (%s, %s)"
_SET_META: Final = "UPDATE meta SET value = %s WHERE `key` = %s"
_META: Final = "SELECT `key`, value FROM meta"
_TABLE_NAMES: Final = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
)
_WSREP: Final = "SHOW GLOBAL VARIABLES LIKE 'wsrep_on'"
_MAKE_SECONDS: Final = 60
_LOCK: Final = "SELECT GET_LOCK(%s, %s)"
_UNLOCK: Final = "SELECT RELEASE_LOCK(%s)"

_ALREADY_DONE: Final = frozenset({1050, 1060, 1061, 1091, 1359})
"""Table, column, key or trigger is there already, or gone already: an upgrade that was cut short."""


async def refuse_galera(connection: MysqlConnection, url: MysqlUrl) -> None:
    """Raise StoreUnavailableError on a Galera cluster, whose head row is not one row for all nodes."""
    rows = await connection.fetch(_WSREP)
    if rows and str(rows[0][1]).upper() == "ON":
        raise StoreUnavailableError(
            f"{url.server} is a Galera cluster (wsrep_on), which cannot hold a ledger: "
            "two nodes may commit the same seq",
            hint="Keep the ledger on a single server, or in a SQLite file.",
        )


async def read_meta(connection: MysqlConnection, url: MysqlUrl) -> dict[str, str] | None:
    """The ledger's `meta`, or None where there is none yet or its making was cut short.

    Raises StoreUnavailableError if the database holds other tables by our names.
    """
    tables = {str(name).lower() for (name,) in await connection.fetch(_TABLE_NAMES)}
    if not tables & _NAMES:
        return None
    foreign = StoreUnavailableError(
        f"the database {url.database} on {url.server} has tables named like a ledger's, "
        "but is not a ledger",
        hint="Give the ledger a database of its own (`url` in the configuration).",
    )
    if "meta" not in tables:
        raise foreign
    try:
        meta = {str(key): str(value) for key, value in await connection.fetch(_META)}
    except QueryError as error:
        raise foreign from error
    return meta if SCHEMA_KEY in meta else None


def refuse_missing(url: MysqlUrl) -> StoreUnavailableError:
    """The error for a database without a ledger, where none is to be made."""
    return NoLedgerError(
        f"there is no ledger in the database {url.database} on {url.server}", hint=MAKE_HINT
    )


async def make_tables(connection: MysqlConnection, url: MysqlUrl) -> dict[str, str]:
    """Make, or finish making, the ledger's tables; one process at a time. Its `meta`."""
    await _lock(connection, url)
    try:
        for statement in (*TABLES, *TRIGGERS):
            await _make(connection, statement)
        ((now,),) = await connection.fetch("SELECT UTC_TIMESTAMP(6)")
        await connection.execute(_INSERT_HEAD, (GENESIS_HASH,))
        for pair in (
            (ID_KEY, uuid.uuid4().hex),
            (CREATED_KEY, timestamp(now)),
            (SCHEMA_KEY, str(LEDGER_SCHEMA)),
        ):
            await connection.execute(_INSERT_META, pair)
        return await read_meta(connection, url) or {}
    finally:
        await _unlock(connection, url)


async def upgrade_tables(
    connection: MysqlConnection, url: MysqlUrl, *, target: int, upgrades: Sequence[Upgrade]
) -> dict[str, str]:
    """Bring an older ledger to `target`; its `meta` afterwards.

    A number is written after its statements, which are done again if that was cut
    short; what is there already then is not an error.
    """
    await _lock(connection, url)
    try:
        meta = await read_meta(connection, url) or {}
        for upgrade in pending(int(meta[SCHEMA_KEY]), target, upgrades):
            for statement in upgrade.statements:
                try:
                    await _make(connection, statement)
                except QueryError as error:
                    if error.code not in _ALREADY_DONE:
                        raise
            meta[SCHEMA_KEY] = str(upgrade.to)
            await connection.execute(_SET_META, (meta[SCHEMA_KEY], SCHEMA_KEY))
        return meta
    finally:
        await _unlock(connection, url)


async def _make(connection: MysqlConnection, statement: str) -> None:
    """Run one statement of the layout. Raises NoTriggersError where a trigger is what may not be made."""
    try:
        await connection.execute(statement)
    except QueryError as error:
        if error.code in _NO_TRIGGERS and MYSQL.classify(statement).makes("trigger"):
            raise NoTriggersError(error.code, error.message) from error
        raise


def _lock_name(url: MysqlUrl) -> str:
    return "ledger-" + hashlib.sha256((url.database or "").encode()).hexdigest()[:32]


async def _lock(connection: MysqlConnection, url: MysqlUrl) -> None:
    ((got,),) = await connection.fetch(
        _LOCK, (_lock_name(url), _MAKE_SECONDS), seconds=_MAKE_SECONDS + 5
    )
    if got != 1:
        raise StoreUnavailableError(
            f"another process has been making or upgrading the ledger on {url.server} "
            f"for over {_MAKE_SECONDS} s",
            hint="See what it does (SHOW PROCESSLIST), then run the command again.",
        )


async def _unlock(connection: MysqlConnection, url: MysqlUrl) -> None:
    # A connection that is gone has freed its lock by that.
    if not connection.closed:
        await connection.fetch(_UNLOCK, (_lock_name(url),))


_BINARY_LOG: Final = 1419
_NO_TRIGGERS: Final = frozenset({1142, 1227, _BINARY_LOG})
_DENIED: Final = frozenset({1044, 1142, 1143, 1227, 1370})
_READ_ONLY: Final = frozenset({1290, 1792, 1836, 3032})
_NO_ROOM: Final = frozenset({1021, 1114, 1030, 3})


class NoTriggersError(QueryError):
    """The account may make tables, and no triggers."""


def translate(error: DriverError, url: MysqlUrl) -> StoreUnavailableError:
    """The driver's exception in the ledger's words, with the GRANT where one is missing."""
    where = f"the ledger on {url.server}, database {url.database}"
    user, name = url.user or "the user", f"`{url.database}`.*"
    if isinstance(error, ConnectRefusedError):
        hint = "Check that the server runs, and `url` and the password in the configuration."
        return StoreUnavailableError(f"{where} cannot be reached: {error}", hint=hint)
    if isinstance(error, NoTriggersError):
        hint = f"As an administrator: GRANT TRIGGER ON {name} TO {user};"
        if error.code == _BINARY_LOG:
            # With binary logging, MySQL wants more than the privilege.
            hint += " SET GLOBAL log_bin_trust_function_creators = 1;"
        hint += " Or run the first `ledger migrate` as an administrator."
        return StoreUnavailableError(
            f"{where} cannot be made append-only, which takes triggers: {error}", hint=hint
        )
    if error.code in _DENIED:
        hint = (
            "As an administrator: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, TRIGGER "
            f"ON {name} TO {user};"
        )
        return StoreUnavailableError(f"{where} refuses this user: {error}", hint=hint)
    if error.code in _READ_ONLY:
        hint = "Point `url` at the primary, or end the server's read_only."
        return StoreUnavailableError(f"{where} is read-only: {error}", hint=hint)
    if error.code in _NO_ROOM:
        hint = "Free some space on the server, then run the command again."
        return StoreUnavailableError(f"{where} has no room left: {error}", hint=hint)
    return StoreUnavailableError(
        f"{where} cannot be used: {error}",
        hint="Run the same command again; if it fails the same way, run `ledger verify`.",
    )
