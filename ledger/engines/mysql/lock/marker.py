"""The marker table inside a MySQL or MariaDB tenant: the fence, and one entry per migration.

Invariant: whatever changes an entry locks the fence row and compares its epoch in
the same statement or transaction, so that a fenced predecessor changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from ledger.dialects.steps import MARKER_TABLE
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.base import Target
from ledger.engines.entries import StoredRef, fenced, require_own, settled
from ledger.engines.measured import Measured
from ledger.engines.mysql.apply.connection import Kept
from ledger.engines.mysql.trouble import DUPLICATE_KEY, NO_SUCH_TABLE
from ledger.engines.work import Intent, Marker, MarkerEntry, StepResult
from ledger.errors import TenantError
from ledger.events import CheckResult, MigrationRef
from ledger.scripts.touching import Touched

CREATE: Final = """
CREATE TABLE IF NOT EXISTS {marker} (
  id        VARCHAR(255) NOT NULL,
  epoch     BIGINT       NOT NULL,
  state     VARCHAR(16)  NOT NULL,
  direction VARCHAR(8)   NOT NULL,
  step      INT          NOT NULL,
  ref       LONGTEXT     NOT NULL,
  `body`    LONGTEXT     NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""
"""`id` is SET/VERSION, `ref` the migration and `body` its results as JSON. In the one row with the
empty `id`, `epoch` is the fence and `ref` says who set it. The ORACLE mode of a migration makes
BODY a keyword."""

READ: Final = "SELECT id, epoch, state, direction, step, ref, {body} FROM {marker} ORDER BY id"
APPLIED_BODIES: Final = "IF(state = 'applied', `body`, '')"
READ_BODY: Final = "SELECT `body` FROM {marker} WHERE id = %s"
INSERT_FENCE: Final = """
INSERT INTO {marker} (id, epoch, state, direction, step, ref, `body`)
VALUES ('', %s, '', '', 0, %s, '')
"""
RAISE_FENCE: Final = "UPDATE {marker} SET epoch = %s, ref = %s WHERE id = '' AND epoch <= %s"
PUT_ENTRY: Final = """
REPLACE INTO {marker} (id, epoch, state, direction, step, ref, `body`)
SELECT %s, fence.epoch, %s, %s, %s, %s, %s
FROM {marker} AS fence WHERE fence.id = '' AND fence.epoch = %s
FOR UPDATE
"""
PUT_ENTRIES: Final = """
REPLACE INTO {marker} (id, epoch, state, direction, step, ref, `body`)
SELECT entry.id, entry.epoch, entry.state, entry.direction, entry.step, entry.ref, entry.`body`
FROM {marker} AS fence
JOIN ({entries}) AS entry
WHERE fence.id = '' AND fence.epoch = %s
FOR UPDATE
"""
"""In one statement, so that what is settled costs no round trip of its own."""
ONE_ENTRY: Final = "SELECT %s AS id, %s AS epoch, %s AS state, %s AS direction, %s AS step, %s AS ref, %s AS `body`"
LOCK_FENCE: Final = "SELECT epoch FROM {marker} WHERE id = '' FOR UPDATE"
DELETE_ENTRY: Final = "DELETE FROM {marker} WHERE id = %s"
DELETE_ENTRIES: Final = "DELETE FROM {marker} WHERE id <> ''"
PUT_PLAIN: Final = """
INSERT INTO {marker} (id, epoch, state, direction, step, ref, `body`) VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


class RoutineGrant(msgspec.Struct, frozen=True, kw_only=True):
    """One account's (or, without a host, one role's) privileges on one routine."""

    user: str
    host: str
    kind: str
    routine: str
    privileges: tuple[str, ...]


class Fence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fence row's `ref`.

    `restoring` names the backup of a restore that has not ended; `resetting` says
    that the tenant's objects are being dropped. `grants` are those that a restore will grant again.
    """

    ledger: str = ""
    connection_id: int = 0
    warnings: tuple[str, ...] = ()
    restoring: str = ""
    resetting: bool = False
    grants: tuple[RoutineGrant, ...] = ()


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A step inside the file's own transaction that may commit it, with the hash of its statement."""

    step: int
    statement: str

    def intent(self) -> Intent:
        """The same as an intent."""
        return Intent(
            step=self.step, statement=self.statement, before="", objects=(), connection_id=0
        )


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry's `body`. `steps` are the results that the ledger may lack.

    `reported` says that they were handed to a living runner. `before` are the texts of
    the objects that the step after `step` touches, as they were before it; `measured` is from before
    the migration's first step. `connection` is what the connection knew once `step` had landed.
    `begun` stands here if that step has committed the transaction that it ran in. `touches` is what
    a Python migration's statements made, found and changed, which no file says; `touched` are the names
    alone, as an older version wrote them.
    """

    steps: tuple[StepResult, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    reported: bool = msgspec.field(default=False, name="told")
    before: tuple[tuple[str, str], ...] = ()
    measured: Measured | None = None
    connection: Kept | None = None
    begun: Begun | None = None
    touches: Touched = Touched()
    touched: tuple[str, ...] = ()

    @property
    def all_touches(self) -> Touched:
        """What is known of its statements; of a bare name, that it is not the migration's own."""
        if not self.touched:
            return self.touches
        return self.touches | Touched(found=frozenset(self.touched))


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """The marker as read: the fence, and the entries by SET/VERSION without their bodies."""

    exists: bool = False
    epoch: int = 0
    fence: Fence = Fence()
    entries: dict[str, MarkerEntry] = {}


_ENCODE: Final = msgspec.json.Encoder().encode
_FENCE: Final = msgspec.json.Decoder(Fence)
_REF: Final = msgspec.json.Decoder(StoredRef)
_BODY: Final = msgspec.json.Decoder(Body)


def marker_name(target: Target) -> str:
    """The table's name, unquoted."""
    return f"{target.prefix}{MARKER_TABLE}"


def owner_of(ref: str) -> str:
    """The id of the ledger that a fence row names; nothing where it cannot be read."""
    try:
        return _FENCE.decode(ref).ledger
    except msgspec.DecodeError:
        return ""


class MarkerTable:
    """The statements of one tenant's marker. Raises what the connection raises, and the errors named.

    It remembers which applied entries are stored longer than settled ones need be.
    """

    def __init__(self, target: Target) -> None:
        self.tenant = target.name
        self.name = marker_name(target)
        self._quoted = quote_identifier(self.name)
        self._longer: dict[str, MarkerEntry] = {}

    def _sql(self, template: str) -> str:
        return template.replace("{marker}", self._quoted)

    async def read(self, connection: MysqlConnection, *, bodies: bool = False) -> Remembered:
        """What the tenant remembers; nothing without the table. Raises TenantError if unreadable.

        Entries that are not applied come without what their body holds, unless with `bodies`.
        """
        sql = self._sql(READ).replace("{body}", "`body`" if bodies else APPLIED_BODIES)
        try:
            rows = await connection.fetch(sql)
        except QueryError as error:
            if error.code == NO_SUCH_TABLE:
                return Remembered()
            raise
        epoch, fence = 0, Fence()
        entries: dict[str, MarkerEntry] = {}
        self._longer.clear()
        for row_id, row_epoch, state, direction, step, ref, body in rows:
            try:
                if row_id == "":
                    epoch, fence = row_epoch, _FENCE.decode(ref)
                    continue
                kept, stored = _BODY.decode(body) if body else Body(), _REF.decode(ref)
                entries[row_id] = entry = MarkerEntry(
                    ref=stored.ref,
                    state="applied" if state == "applied" else "running",
                    direction="down" if direction == "down" else "up",
                    step=step,
                    epoch=row_epoch,
                    steps=kept.steps,
                    checks=kept.checks,
                    touches=kept.all_touches,
                )
                short = settled(entry)
                if state == "applied" and (kept != _plain(short) or stored.sources):
                    self._longer[row_id] = short
            except msgspec.DecodeError as error:
                raise TenantError(
                    f"the marker entry {row_id!r} in table {self.name} cannot be read: {error}",
                    hint="Take the tenant over with `ledger baseline --tenant NAME --to VERSION`, or bring"
                    " a backup back with `ledger restore --tenant NAME`.",
                    tenant=self.tenant,
                ) from error
        return Remembered(exists=True, epoch=epoch, fence=fence, entries=entries)

    async def read_body(self, connection: MysqlConnection, entry: str) -> Body:
        """One entry's body; empty if there is none."""
        rows = await connection.fetch(self._sql(READ_BODY), (entry,))
        return _BODY.decode(rows[0][0]) if rows and rows[0][0] else Body()

    async def raise_fence(
        self, connection: MysqlConnection, found: Remembered, *, epoch: int, fence: Fence
    ) -> Remembered:
        """Set the fence if it is not newer. Raises FencedError."""
        if not found.exists:
            await connection.execute(self._sql(CREATE))
        ref = _ENCODE(fence)
        if not found.exists or found.epoch == 0:
            try:
                await connection.execute(self._sql(INSERT_FENCE), (epoch, ref))
            except QueryError as error:
                if error.code != DUPLICATE_KEY:
                    raise
                found = await self.read(connection)
        if found.epoch:
            changed = await connection.execute(self._sql(RAISE_FENCE), (epoch, ref, epoch))
            if not changed and (found.epoch, found.fence) != (epoch, fence):
                found = await self.read(connection)
                if (found.epoch, found.fence) != (epoch, fence):
                    raise fenced(found.epoch, epoch, tenant=self.tenant)
        return msgspec.structs.replace(found, exists=True, epoch=epoch, fence=fence)

    async def put(
        self,
        connection: MysqlConnection,
        entry: MarkerEntry,
        body: Body,
        *,
        recorded: Collection[str] = (),
    ) -> None:
        """Write an entry under its epoch; those that the ledger has `recorded` as applied (ids) are shortened.

        The JSON goes as hexadecimal, so that no SET NAMES or sql_mode of a migration
        can change it. Raises FencedError if the fence has another epoch by now.
        """
        longer = [one for name, one in self._longer.items() if name in recorded]
        rows = [_row(entry, body), *(_row(one, _plain(one)) for one in longer)]
        if longer:
            sql = PUT_ENTRIES.replace("{entries}", " UNION ALL ".join([ONE_ENTRY] * len(rows)))
            values = [value for row in rows for value in row]
        else:
            sql = PUT_ENTRY
            values = [value for number, value in enumerate(rows[0]) if number != 1]
        changed = await connection.execute(self._sql(sql), (*values, entry.epoch))
        if not changed:
            found = await self.read(connection)
            raise fenced(found.epoch, entry.epoch, tenant=self.tenant)
        for one in longer:
            del self._longer[one.ref.id]
        if entry.state == "applied":
            self._longer[entry.ref.id] = settled(
                msgspec.structs.replace(entry, steps=body.steps, touches=body.touches)
            )

    async def lock_fence(self, connection: MysqlConnection, *, epoch: int) -> None:
        """Inside a transaction: hold the fence row to its end. Raises FencedError."""
        rows = await connection.fetch(self._sql(LOCK_FENCE))
        found = int(rows[0][0]) if rows else 0
        if found != epoch:
            raise fenced(found, epoch, tenant=self.tenant)

    async def drop(self, connection: MysqlConnection, ref: MigrationRef, *, epoch: int) -> None:
        """Remove an entry, in a transaction of its own. Raises FencedError."""
        await connection.begin()
        await self.lock_fence(connection, epoch=epoch)
        await connection.execute(self._sql(DELETE_ENTRY), (ref.id.encode(),))
        await connection.commit()

    async def replace_all(
        self,
        connection: MysqlConnection,
        entries: Iterable[MarkerEntry],
        *,
        epoch: int,
        fence: Fence,
    ) -> None:
        """Make `entries` all there is, and set the fence's words, in one transaction. Raises FencedError."""
        await connection.begin()
        await self.lock_fence(connection, epoch=epoch)
        await connection.execute(self._sql(DELETE_ENTRIES))
        for entry in entries:
            await connection.execute(self._sql(PUT_PLAIN), _row(entry, _plain(entry)))
        await connection.execute(self._sql(RAISE_FENCE), (epoch, _ENCODE(fence), epoch))
        await connection.commit()


def _plain(entry: MarkerEntry) -> Body:
    """The body of an entry of which nothing else is known."""
    return Body(steps=entry.steps, checks=entry.checks, touches=entry.touches)


def _row(entry: MarkerEntry, body: Body) -> tuple[bytes | int | str, ...]:
    """The columns in their order."""
    return (
        entry.ref.id.encode(),
        entry.epoch,
        entry.state,
        entry.direction,
        entry.step,
        _ENCODE(StoredRef.of(entry.ref)),
        _ENCODE(body),
    )


def as_marker(found: Remembered) -> Marker:
    """The protocol's value."""
    fence = found.fence
    return Marker(
        epoch=found.epoch,
        ledger=fence.ledger,
        entries=tuple(found.entries.values()),
        unfinished="restore" if fence.restoring else "reset" if fence.resetting else "",
    )


def require_ledger(found: Remembered, *, ledger: str, tenant: str) -> None:
    """Raises TenantError for a tenant of another ledger, or one that a restore left half done."""
    require_own(found.fence.ledger, ledger, tenant=tenant)
    if found.fence.restoring:
        raise TenantError(
            f"a restore of {found.fence.restoring} was interrupted; the tenant holds a part of it",
            hint="Run `ledger restore --tenant NAME` again.",
            tenant=tenant,
        )
    if found.fence.resetting:
        raise TenantError(
            "a reset was interrupted; some of the tenant's objects are dropped already",
            hint="Run `ledger reset --tenant NAME --drop-all` again.",
            tenant=tenant,
        )
