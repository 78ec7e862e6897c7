"""What a migration's connection knows, kept with the marker: going on equals not having stopped.

After each step that may change it, what a later step may read is asked for: user
variables, settings, LAST_INSERT_ID, prepared statements, sequences. What the last
statement left (ROW_COUNT, FOUND_ROWS, the number of warnings) is put into the text that
reads it, since statements of our own stand between. Invariant: a step that reads what a
lost connection knew, and that was not kept, does not run.
"""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec

from ledger.dialects.mysql.connection import ONE_SHOT, SEEDS, Read, Uses, diagnostics_asked, uses
from ledger.dialects.mysql.needs import Needs
from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.steps import Step
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.mysql.apply import variables
from ledger.engines.mysql.apply.variables import Setting, Variable

OF_AN_EARLIER: Final = "the connection of an earlier attempt"


class Last(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the last statement, that of `step`, left: ROW_COUNT(), and how many warnings."""

    step: int
    rows: int
    warnings: int = 0


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the connection knew once a step had landed. A setting of None is at its default.

    `unknown`: code that landed, and whose outcome a person settled, may have set variables.
    """

    variables: tuple[Variable, ...] = ()
    settings: tuple[tuple[str, Setting], ...] = ()
    prepared: tuple[tuple[str, str], ...] = ()
    sequences: tuple[tuple[str, str], ...] = ()
    insert_id: str = ""
    found: int | None = None
    last: Last | None = None
    unknown: bool = False


class ConnectionState:
    """One attempt's picture of its connection. Methods raise what the connection raises.

    `landed` is the number of steps that landed before this attempt, `kept` what the
    marker says of them, `mysql` that this is no MariaDB. `now` is what the connection knows.
    """

    def __init__(self, needs: Needs, *, landed: int, kept: Kept | None, mysql: bool) -> None:
        self.needs = needs
        self._mysql = mysql
        self.now = kept or Kept()
        if self.now.last is not None and self.now.last.step != landed:
            self.now = msgspec.structs.replace(self.now, last=None)
        self.restored = kept is not None and landed > 0
        self._resumed = landed > 0
        self._landed = landed
        self._names = needs.variables | {variable.name for variable in self.now.variables}
        self._programs: variables.Programs | None = None
        self._counted = False
        self._settings: dict[str, object] | None = None
        self._lost_tables: set[str] = set()
        self._lost_seeds = False

    async def begin(self, connection: MysqlConnection) -> None:
        """Before the first step: nothing of an earlier migration is left for this one."""
        if self.needs.insert_id and not self._resumed:
            await connection.execute("SET last_insert_id = 0")

    async def restore(self, connection: MysqlConnection) -> None:
        """Make the connection what it was when the last step landed."""
        if not self.restored:
            return
        await variables.write(connection, self.now.variables)
        for name, value in self.now.settings:
            if name == "insert_id" and not value:
                continue  # Used up. MySQL would take the 0 for a number.
            await variables.set_setting(connection, name, value)
        for name, text in self.now.prepared:
            await _prepare(connection, name, text)
        if self.now.insert_id:
            await connection.execute(f"SET last_insert_id = {int(self.now.insert_id)}")

    def runs_again(self, step: Step) -> bool:
        """Whether a step that landed in an earlier attempt is run for what it does to the connection."""
        own = uses(step.readable)
        if not self.restored:
            return not own.makes_temporary
        if own.once and step.number != self._landed:
            return False
        if own.again or (step.secret and bool(own.variables or own.settings)):
            return True
        kept = dict(self.now.settings)
        return any(setting.name not in kept for setting in own.settings)

    def lose(self, step: Step) -> None:
        """A step that landed in an earlier attempt: what of it no other connection can have."""
        own = uses(step.readable)
        if own.makes_temporary:
            self._lost_tables.add(own.makes_temporary)
        self._lost_tables -= set(own.drops)
        self._lost_seeds |= any(setting.name in SEEDS for setting in own.settings)

    def took_up(self, step: Step) -> None:
        """A step that turned out to have landed: what it left in its connection nobody saw."""
        self.lose(step)
        self._resumed = True
        unknown = self.now.unknown or uses(step.readable).opaque
        self.now = msgspec.structs.replace(self.now, last=None, unknown=unknown)

    def already_gone(self, step: Step) -> bool:
        """Whether all that it drops are temporary tables, which ended with their connection."""
        drops = set(uses(step.readable).drops)
        if not drops or not drops <= self._lost_tables:
            return False
        self._lost_tables -= drops
        return True

    def missing(self, step: Step) -> str:
        """What the step needs of a lost connection and was not kept; nothing if it may run."""
        own = uses(step.readable)
        if not self._resumed or own.stored:
            return ""
        text = uses(dict(self.now.prepared).get(own.executes, ""))
        lost = self._lost_tables
        named = lost & (_words(step.readable) if lost else set())
        if own.makes_temporary:
            named.discard(own.makes_temporary)
            lost.discard(own.makes_temporary)
        if named or (lost and own.opaque):
            what = "reads" if named else "may read"
            return f"it {what} the temporary table {min(named or lost)}, which ended with {OF_AN_EARLIER}"
        if (own.reads_last or text.reads_last) and self.now.last is None:
            return f"it reads what the statement before it left in {OF_AN_EARLIER}"
        if self.now.unknown and (own.opaque or own.variables):
            return f"it may read what a routine left in {OF_AN_EARLIER}"
        if own.random and self._lost_seeds and self._mysql:
            return f"it goes on with the random numbers of {OF_AN_EARLIER}"
        if (
            any(read.what == "found" for read in (*own.reads, *text.reads))
            and self.now.found is None
        ):
            return f"it asks how many rows a query found in {OF_AN_EARLIER}"
        if not self.restored:
            return ""
        if own.executes and own.executes not in dict(self.now.prepared):
            return f"the prepared statement {own.executes} ended with {OF_AN_EARLIER}"
        asked = {read.of for read in own.reads if read.what == "sequence"}
        absent = asked - set(dict(self.now.sequences))
        return f"the last value of {min(absent)} was known to {OF_AN_EARLIER}" if absent else ""

    # Before a statement is sent.

    async def before(self, connection: MysqlConnection, step: Step) -> str:
        """The text to send: what it reads of the statement before stands in it."""
        own = uses(step.readable)
        if own.opaque:
            self._settings = await variables.all_settings(connection)
            if (await self._read_programs(connection)).counts:
                await self._count_again(connection)
        if own.first == "CREATE" and own.reads_last and not own.stored:
            # A column of CREATE TABLE … AS has its type and its name from the call.
            await self._count_again(connection)
            return step.sql
        text = dict(self.now.prepared).get(own.executes, "") if own.executes else ""
        if uses(text).reads:
            await _prepare(connection, own.executes, self.filled(text))
        filled = self.filled(step.readable)
        return filled if step.escapes else filled.replace("\\\\", "\\")

    async def _count_again(self, connection: MysqlConnection) -> None:
        if self.now.last is not None:
            await variables.set_row_count(connection, self.now.last.rows)
            self._counted = self.now.last.rows > 0

    def filled(self, sql: str) -> str:
        """The statement with the values of what it reads."""
        own = uses(sql)
        if not own.reads or own.stored:
            return sql
        if own.reads[0].what == "diagnostics":
            asked = diagnostics_asked(sql)
            return "SET " + ", ".join(
                f"@{quote_identifier(name)} = {self._value(Read(0, 0, what))}"
                for name, what in asked
            )
        parts: list[str] = []
        end = 0
        for read in own.reads:
            value = self._value(read)
            if read.what == "warnings" and own.first not in ("SET", "SELECT") and not self._mysql:
                value = (
                    "0"  # MariaDB's INSERT and the like have forgotten them before they read it.
                )
            if value is not None:
                parts += [sql[end : read.start], value]
                end = read.end
        return "".join((*parts, sql[end:]))

    def _value(self, read: Read) -> str | None:
        last = self.now.last or Last(step=0, rows=0)
        if read.what == "sequence":
            return dict(self.now.sequences).get(read.of)
        if read.what == "found":
            return str(self.now.found or 0)
        if read.what == "rows":
            return str(last.rows) if last.rows >= 0 else f"({last.rows})"
        return str(last.warnings) if read.what == "warnings" else "0"

    # After a statement.

    def ran(self, step: Step, *, rows: int, warnings: int, found: int | None = None) -> None:
        """What its answer says; `found` are the rows of an answer of rows."""
        last = Last(step=step.number, rows=rows, warnings=warnings)
        self.now = msgspec.structs.replace(self.now, last=last)
        if found is not None and "SQL_CALC_FOUND_ROWS" not in step.sql.upper():
            self.now = msgspec.structs.replace(self.now, found=found)

    def passed(self, step: Step) -> None:
        """The step was skipped: what the one before it left is still what the last one left."""
        if self.now.last is not None:
            last = msgspec.structs.replace(self.now.last, step=step.number)
            self.now = msgspec.structs.replace(self.now, last=last)

    async def count_found(self, connection: MysqlConnection, step: Step) -> bool:
        """Ask for FOUND_ROWS, at once, where a later step does. Whether it did."""
        own = uses(step.readable)
        counts = own.selects if own.first != "DO" else False
        counts = counts or (self._mysql and own.first in ("UPDATE", "DO"))
        if not self.needs.found or not counts:
            return False
        ((found,),) = await connection.fetch("SELECT FOUND_ROWS()")
        self.now = msgspec.structs.replace(self.now, found=int(found))
        return True

    async def read(self, connection: MysqlConnection, step: Step, *, made_id: bool) -> None:
        """What the step has left in the connection; `made_id`: perhaps another LAST_INSERT_ID."""
        own = uses(step.readable)
        if self._counted:
            self._counted = False
            await variables.drop_rows(connection)
        if own.stored:
            self._names |= own.inside
            self._programs = None
            return
        inside: frozenset[str] = frozenset()
        if self.needs.opaque or self._names:
            inside = (await self._read_programs(connection)).variables
            self._names |= inside
        if not step.secret:
            self._names |= own.variables | self._of_prepared(own)
        runs_programs = own.inserts or own.selects
        if own.variables or own.opaque or (runs_programs and inside):
            found = await variables.read(connection, self._names)
            self.now = msgspec.structs.replace(self.now, variables=found)
        if made_id or own.insert_id or own.opaque:
            ((number,),) = await connection.fetch("SELECT LAST_INSERT_ID()")
            self.now = msgspec.structs.replace(self.now, insert_id=str(number))
        await self._read_settings(connection, own)
        if self.needs.sequences:
            await self._read_sequences(connection)
        if own.prepares or own.deallocates:
            await self._read_prepared(connection, own)

    async def _read_programs(self, connection: MysqlConnection) -> variables.Programs:
        if self._programs is None:
            self._programs = await variables.programs(connection)
        return self._programs

    def _of_prepared(self, own: Uses) -> frozenset[str]:
        return uses(dict(self.now.prepared).get(own.executes, "")).variables

    async def _read_settings(self, connection: MysqlConnection, own: Uses) -> None:
        values = dict(self.now.settings)
        stale = {
            setting.name for setting in own.settings if setting.computed or setting.name in values
        }
        if own.opaque and self._settings is not None:
            now = await variables.all_settings(connection)
            stale |= {name for name, value in now.items() if self._settings.get(name) != value}
        if own.inserts or own.random:
            stale |= ONE_SHOT & set(values)
        defaults = {setting.name for setting in own.settings if setting.default}
        for name in stale:
            if name in SEEDS and self._mysql:
                continue  # It shows 0 whatever they are: `missing` knows of them.
            found = (None,) if name in defaults else await variables.setting(connection, name)
            if found is not None:
                (values[name],) = found
        if stale:
            self.now = msgspec.structs.replace(self.now, settings=tuple(sorted(values.items())))

    async def _read_sequences(self, connection: MysqlConnection) -> None:
        values = dict(self.now.sequences)
        for name in self.needs.sequences:
            # One that is not there, or was not asked yet, has no last value.
            with contextlib.suppress(QueryError):
                ((value,),) = await connection.fetch(f"SELECT LASTVAL({name})")
                if value is not None:
                    values[name] = str(int(value))
        self.now = msgspec.structs.replace(self.now, sequences=tuple(sorted(values.items())))

    async def _read_prepared(self, connection: MysqlConnection, own: Uses) -> None:
        prepared = dict(self.now.prepared)
        prepared.pop(own.deallocates, None)
        if own.prepares:
            ((text,),) = await connection.fetch(f"SELECT {own.source}")
            prepared[own.prepares] = str(text)
        self.now = msgspec.structs.replace(self.now, prepared=tuple(prepared.items()))


async def _prepare(connection: MysqlConnection, name: str, text: str) -> None:
    await connection.execute(f"PREPARE {quote_identifier(name)} FROM %s", (text,))


def _words(sql: str) -> set[str]:
    return {token.text.lower() for token in SYNTAX.tokens(sql) if token.kind in ("word", "quoted")}
