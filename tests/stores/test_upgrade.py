"""A ledger of schema 1 in the layout of schema 2: nothing of it is lost, whenever the upgrade is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio
import msgspec
import pytest

from ledger.api.verify import verify_store
from ledger.drivers.url import MysqlUrl
from ledger.errors import ChainBrokenError
from ledger.events import StepApplied, encode_body
from ledger.events.schema_1 import OldEvent, old_hash
from tests.conftest import MakeDatabase
from tests.servers import ROOT, Server, queries
from tests.stores.ledgers import Place, audit, read_all, request, server_place, sqlite_place

GOLDEN = Path(__file__).parent.parent / "golden"
OLD_END = "3f6197c27a29bfff6742aa37857341fd1a9bff6188b8e11d7d75894a1fbee67f"
COLUMNS = "seq, stream, version, event_id, type, at, run, actor, tenant, body, prev_hash, hash"
COUNT = 11_002
"""Events that take three transactions to rewrite."""


@pytest.fixture(params=["sqlite", "mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def place(request: pytest.FixtureRequest, tmp_path: Path, make_database: MakeDatabase) -> Place:
    """The golden ledger of schema 1, of two events."""
    if request.param == "sqlite":
        made = sqlite_place(tmp_path)
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
            db.executescript((GOLDEN / "ledger_schema_1.sqlite.sql").read_text())
        return made
    server: Server = request.getfixturevalue(request.param)
    made = server_place(server, make_database(server))
    text = (GOLDEN / "ledger_schema_1.mysql.sql").read_text()
    statements = [statement for statement in text.split(";\n") if statement.strip()]
    assert isinstance(made.url, MysqlUrl)
    queries(server, statements, database=made.url.database)
    return made


def grow(place: Place, count: int = COUNT) -> dict[int, str]:
    """Add events as the version of schema 1 did, three of a tenant at a moment; their hashes by seq."""
    hashes = {2: str(place.execute("SELECT hash FROM head")[0][0])}
    rows = []
    for seq in range(3, count + 1):
        number, step = divmod(seq, 3)
        event = StepApplied(
            set="app",
            version="1",
            direction="up",
            step=step,
            of=3,
            name="it's",
            statement=f"{number % 7}" * 64,
            duration_us=seq,
        )
        old: OldEvent = (
            seq,
            f"tenant/t{number}",
            step + 1,
            f"id-{seq}",
            "step_applied",
            f"2026-11-22T02:{number // 60 % 60:02}:{number % 60:02}.000001Z",
            f"run-{number % 5}",
            "ana@höst",
            f"t{number}",
            encode_body(event).decode(),
        )
        hashes[seq] = old_hash(hashes[seq - 1], old)
        rows.append((*old, hashes[seq - 1], hashes[seq]))
    for start in range(0, len(rows), 1000):
        values = ", ".join(
            "(" + ", ".join(f"'{str(value).replace(chr(39), chr(39) * 2)}'" for value in row) + ")"
            for row in rows[start : start + 1000]
        )
        place.execute(f"INSERT INTO events ({COLUMNS}) VALUES {values}")
    place.execute(f"UPDATE head SET seq = {count}, hash = '{hashes[count]}'")
    return hashes


async def anchored(place: Place, *anchors: str) -> None:
    """Each of these anchors is proved, and the ledger is sound."""
    async with place.open(create=False) as store:
        for anchor in anchors:
            report = await verify_store(store, anchor=anchor, rebuild=True)
            # The golden ledger's one text is none that its key stands for.
            assert len(report.problems) == len(report.bad_texts) == 1, report.problems


async def test_what_was_recorded_and_anchored_before_stays(place: Place) -> None:
    """Events read the same, with time, tenant and body; anchors of then and of now are proved; what is
    appended comes behind."""
    hashes = grow(place)
    async with place.open(create=False) as store:
        events = await read_all(store)
        assert [event.seq for event in events] == list(range(1, COUNT + 1))
        first, second, step = events[0], events[1], events[3001]
        assert (first.stream, first.tenant, first.run) == ("run/run-1", None, "run-1")
        assert first.document() == {"type": "lease_renewed", "schema": 1, "lease_seconds": 30}
        assert second.at.startswith("2026-11-22T01:14:38.0")
        assert second.document()["checks"] == [{"name": "it's fine", "passed": True}]
        assert (step.tenant, step.version, step.actor) == ("t1000", 3, "ana@höst")
        assert step.at == "2026-11-22T02:16:40.000001Z"
        assert isinstance(step.data, StepApplied) and step.data.duration_us == 3002
        now = await store.head()
        await store.append(request("tenant/t1000", expected=3))
        later = await store.head()
    await anchored(
        place,
        f"2 {hashes[2]}",
        f"4567 {hashes[4567]}",
        f"{COUNT} {hashes[COUNT]}",
        f"{now.seq} {now.hash}",
        f"{later.seq} {later.hash}",
    )
    async with place.open(create=False) as store:
        for wrong in (f"4567 {hashes[4568]}", f"{COUNT} {hashes[2]}"):
            report = await verify_store(store, anchor=wrong, rebuild=False)
            assert not report.sound and "history up to here was rewritten" in report.problems[0]


@pytest.mark.parametrize(
    "failpoint",
    [
        *(f"store.after_commit:{count}" for count in (1, 2, 4)),
        *(f"store.before_commit:{count}" for count in (1, 3, 4, 5)),
    ],
)
async def test_an_upgrade_that_was_killed_goes_on(place: Place, failpoint: str) -> None:
    """Killed with SIGKILL between and within its transactions: the next opening brings it to its end."""
    hashes = grow(place)
    killed = await anyio.run_process(
        [sys.executable, "-m", "tests.stores.worker", str(place.url), "tenant/new", "1"],
        cwd=ROOT,
        env={**os.environ, "LEDGER_FAILPOINT": failpoint},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    async with place.open(create=False) as store:
        assert await audit(store) == COUNT
        await store.append(request("tenant/t1000", expected=3))
    await anchored(place, f"4567 {hashes[4567]}", f"{COUNT} {hashes[COUNT]}")


async def test_a_broken_chain_is_not_upgraded(place: Place) -> None:
    """Nothing is changed where an event is not what its hash says; the first such is named."""
    grow(place, 20)
    place.execute(
        "DROP TRIGGER events_refuse_update", "UPDATE events SET actor = 'x' WHERE seq = 7"
    )
    with pytest.raises(ChainBrokenError, match="because of event 7") as caught:
        async with place.open(create=False):
            pass
    assert caught.value.seq == 7
    assert place.execute("SELECT value FROM meta WHERE value = '1'") == [("1",), ("1",)]
    place.execute("UPDATE events SET actor = 'ana@höst' WHERE seq = 7", "UPDATE head SET seq = 19")
    with pytest.raises(ChainBrokenError, match="because of event 19"):
        async with place.open(create=False):
            pass


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event_segments SET content = substr(content, 1, 50)",
        "UPDATE event_segments SET hash = '{0}'",
        "UPDATE event_segments SET last_seq = 19",
        "DELETE FROM event_segments",
    ],
)
async def test_what_is_kept_of_schema_1_is_verified(tmp_path: Path, change: str) -> None:
    """A segment that was changed or is gone is a broken chain."""
    place = sqlite_place(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.executescript((GOLDEN / "ledger_schema_1.sqlite.sql").read_text())
    grow(place, 20)
    async with place.open(create=False) as store:
        for action in ("update", "delete"):
            place.execute(f"DROP TRIGGER event_segments_refuse_{action}")
        place.execute(change.format("a" * 64))
        report = await verify_store(store, anchor=None, rebuild=False)
        assert not report.sound
        assert report.bad_seq is not None and report.bad_seq <= 21


def test_the_old_hash_is_what_it_was() -> None:
    """The golden ledger's second event, by the documented rule."""
    event: OldEvent = (
        2,
        "tenant/acme",
        1,
        "e1",
        "validated",
        "2026-11-22T01:14:38.028774Z",
        "run-1",
        "ana@build-7",
        "acme",
        msgspec.json.encode(
            {
                "type": "validated",
                "schema": 1,
                "passed": True,
                "checks": [{"name": "it's fine", "passed": True}],
            }
        ).decode(),
    )
    before = "565694c08c46b144feeb81d55ef9ce37496b04ca8d00aaca91a9506dc1688eef"
    assert old_hash(before, event) == OLD_END
