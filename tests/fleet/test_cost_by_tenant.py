"""What commands on one tenant read: its own events, and none of the hundred thousand of others."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from ledger import events as ev
from ledger.drivers.url import SqliteUrl
from ledger.events import NewEvent
from ledger.stores import open_store
from ledger.stores.base import Append
from tests.place import MakePlace, Place

OTHERS: Final = 20
EVENTS_EACH: Final = 5_000
PER_CALL: Final = 100
MOST: Final = 20_000
"""Operations of SQLite's virtual machine; a walk over all events takes several of them for each."""

COMMANDS: Final = (
    "backups --tenant acme",
    "backups verify --tenant acme",
    "plan --tenant acme",
    "rehearse --tenant acme",
    "restore --tenant acme -y",
    "migrate --tenant acme",
    "rollback --tenant acme -y",
    "rollback 002 --tenant acme -y",
    "rollback 009 --tenant acme -y",
    "migrate --tenant acme --to 002",
    "unlock --tenant acme --reason why -y",
    "resolve acme --applied --reason why -y",
    "maintain --task optimize --tenant acme",
    "backups prune --tenant acme --keep 1 -y",
    "reset --drop-all --tenant acme --yes-drop acme",
)

NOTHING_TO_DO: Final = {"rollback 009 --tenant acme -y", "resolve acme --applied --reason why -y"}
"""There is no such migration, and no step in doubt."""


class Counting:
    """Operations of all SQLite connections that this process opens by it, in hundreds."""

    def __init__(self) -> None:
        self.hundreds = 0
        self._connect = sqlite3.connect

    def connect(self, *arguments: Any, **more: Any) -> sqlite3.Connection:
        """As sqlite3.connect."""
        connection: sqlite3.Connection = self._connect(*arguments, **more)
        connection.set_progress_handler(self._count, PER_CALL)
        return connection

    def _count(self) -> int:
        self.hundreds += 1
        return 0


async def fill(path: Path) -> None:
    """Append the events of others."""
    event = ev.StepApplied(
        set="app", version="001", direction="up", step=1, of=1, name="x", statement="0" * 64
    )
    events = tuple([NewEvent(event=event, run="r", actor="other")] * EVENTS_EACH)
    async with open_store(SqliteUrl(path=str(path)), create=False) as store:
        for number in range(OTHERS):
            await store.append(Append(stream=f"tenant/other-{number}", events=events))


@pytest.fixture
def crowded(make_place: MakePlace) -> Place:
    """`acme` has two migrations, each with a backup from before it; the ledger is full of others' events."""
    place = make_place("sqlite")
    place.migration(
        "001_one.sql", "CREATE TABLE one (id INTEGER);\n-- migrate:down\nDROP TABLE one;"
    )
    place.migration(
        "002_two.sql", "CREATE TABLE two (id INTEGER);\n-- migrate:down\nDROP TABLE two;"
    )
    place.ok("migrate", "--tenant", "acme", "--to", "001")
    anyio.run(fill, place.folder / "ledger.db")
    place.ok("migrate", "--all-tenants")
    return place


def test_no_command_on_one_tenant_reads_the_events_of_others(
    crowded: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it does to the tenant, and however many events the ledger has."""
    counting = Counting()
    monkeypatch.setattr(sqlite3, "connect", counting.connect)
    spent: dict[str, int] = {}
    codes: dict[str, int] = {}
    for command in COMMANDS:
        counting.hundreds = 0
        codes[command] = crowded.ended(*command.split()).code
        spent[command] = counting.hundreds * PER_CALL
    assert {command for command, code in codes.items() if code} == NOTHING_TO_DO
    assert {command: count for command, count in spent.items() if count > MOST} == {}
