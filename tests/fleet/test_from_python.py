"""`Ledger` called by a program: what it may give, how long it may hold it, what it may do at once."""

from __future__ import annotations

import inspect
import os
import pickle
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from ledger import events as ev
from ledger import requests
from ledger.api import Ledger
from ledger.errors import (
    ChainBrokenError,
    ConflictError,
    FencedError,
    InDoubtError,
    LedgerError,
    MarkerMismatchError,
    StepFailedError,
    StoreError,
    UsageError,
)
from ledger.requests.base import Request
from ledger.stores.base import Append
from tests.fleet.world import TAGS, Fleet

Call = Callable[[Ledger], Awaitable[object] | AsyncIterator[object]]

WRONG: dict[str, Call] = {
    "parallel of none": lambda ledger: ledger.migrate(parallel=0),
    "parallel below": lambda ledger: ledger.migrate(parallel=-1),
    "parallel as text": lambda ledger: ledger.migrate(parallel="4"),  # type: ignore[arg-type]
    "parallel a half": lambda ledger: ledger.validate(parallel=1.5),  # type: ignore[arg-type]
    "parallel yes": lambda ledger: ledger.plan(parallel=True),
    "doctor with none": lambda ledger: ledger.doctor(parallel=0),
    "backup sometimes": lambda ledger: ledger.migrate(backup="sometimes"),  # type: ignore[arg-type]
    "backup a bool": lambda ledger: ledger.migrate(backup=True),  # type: ignore[arg-type]
    "backup empty": lambda ledger: ledger.rollback(backup=""),  # type: ignore[arg-type]
    "on_error ignore": lambda ledger: ledger.migrate(on_error="ignore"),  # type: ignore[arg-type]
    "on_error none": lambda ledger: ledger.migrate(on_error=None),  # type: ignore[arg-type]
    "max_failures below": lambda ledger: ledger.migrate(max_failures=-1),
    "max_failures of no digit": lambda ledger: ledger.migrate(max_failures="²"),
    "to a number": lambda ledger: ledger.migrate(to=2),  # type: ignore[arg-type]
    "to empty": lambda ledger: ledger.migrate(to=""),
    "out_of_order text": lambda ledger: ledger.migrate(out_of_order="no"),  # type: ignore[arg-type]
    "explain a number": lambda ledger: ledger.migrate(explain=5),  # type: ignore[arg-type]
    "reason nothing": lambda ledger: ledger.migrate(reason=None),  # type: ignore[arg-type]
    "reason a number": lambda ledger: ledger.migrate(reason=5),  # type: ignore[arg-type]
    "reason no UTF-8": lambda ledger: ledger.migrate(reason="\udcff"),
    "tenants nothing": lambda ledger: ledger.migrate(None),  # type: ignore[arg-type]
    "tenants a number": lambda ledger: ledger.status(5),  # type: ignore[arg-type]
    "tenants bytes": lambda ledger: ledger.migrate(b"t0"),  # type: ignore[arg-type]
    "tenants one a number": lambda ledger: ledger.migrate(["t0", 5]),  # type: ignore[list-item]
    "by nothing": lambda ledger: ledger.rollback(by=None),  # type: ignore[arg-type]
    "by magic": lambda ledger: ledger.plan_rollback(by="magic"),  # type: ignore[arg-type]
    "reset by magic": lambda ledger: ledger.reset("*", to="0", by="magic"),  # type: ignore[arg-type]
    "drop_all text": lambda ledger: ledger.reset("*", drop_all="false"),  # type: ignore[arg-type]
    "mark_only text": lambda ledger: ledger.reset("*", to="0", mark_only="no"),  # type: ignore[arg-type]
    "how else": lambda ledger: ledger.resolve("t0", how="x", reason="r"),  # type: ignore[arg-type]
    "restore of a yes": lambda ledger: ledger.restore("t0", backup=True),
    "restore of no event": lambda ledger: ledger.restore("t0", backup=0),
    "restore at no time": lambda ledger: ledger.restore("t0", at="yesterday"),
    "prune before no time": lambda ledger: ledger.plan_prune("*", before="yesterday"),
    "prune keep text": lambda ledger: ledger.prune_backups("*", keep="1"),  # type: ignore[arg-type]
    "history below": lambda ledger: ledger.history(limit=-1),
    "history of none": lambda ledger: ledger.history(migration="001", limit=0),
    "history of a number": lambda ledger: ledger.history(tenant=5),  # type: ignore[arg-type]
    "history since a number": lambda ledger: ledger.history(since=5),  # type: ignore[arg-type]
    "history of no run": lambda ledger: ledger.history(run=""),
    "runs of none": lambda ledger: ledger.runs(limit=0),
    "status at a number": lambda ledger: ledger.status(at=5),  # type: ignore[arg-type]
    "status before all dates": lambda ledger: ledger.status(at="0001-01-01T00:00+02:00"),
    "stats of none": lambda ledger: ledger.stats(steps=0),
    "maintain else": lambda ledger: ledger.maintain("*", task="x"),  # type: ignore[arg-type]
    "maintain none at a time": lambda ledger: ledger.maintain("*", task="orphans", batch=0),
    "rehearse none": lambda ledger: ledger.rehearse("*", sample=0),
    "rehearse from else": lambda ledger: ledger.rehearse("*", source="x"),  # type: ignore[arg-type]
    "import from a number": lambda ledger: ledger.import_from("*", source=5),  # type: ignore[arg-type]
    "schema a number": lambda ledger: ledger.validate(schema=5),  # type: ignore[arg-type]
    "anchor a number": lambda ledger: ledger.verify(anchor=5),  # type: ignore[arg-type]
}


async def _call(call: Call, ledger: Ledger) -> None:
    made = call(ledger)
    if isinstance(made, AsyncIterator):
        async for _ in made:
            pass
    else:
        await made


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
async def test_an_argument_that_means_nothing_is_refused(call: Call, tmp_path: Path) -> None:
    """As on the command line: named, with what it may be; no run is recorded and nothing changes."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    before = await fleet.open().head()
    with pytest.raises(UsageError) as refused:
        await _call(call, fleet.open())
    assert refused.value.hint
    assert await fleet.open().head() == before
    assert (await fleet.open().status()).summary == {"pending": 1}


@pytest.mark.parametrize(
    "given",
    [{"config": 5}, {"config": ""}, {"env": 5}, {"env": ""}, {"actor": 5}, {"actor": "\udcff"}],
)
async def test_a_ledger_is_not_opened_with_what_means_nothing(given: dict[str, Any]) -> None:
    """A configuration is a path, an environment and an actor are words."""
    with pytest.raises(UsageError):
        Ledger.open(**given)


async def test_an_actor_of_the_environment_that_is_not_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named; an event could not hold it."""
    fleet = Fleet(tmp_path, tenants=1)
    monkeypatch.setitem(os.environ, "LEDGER_ACTOR", "ana\udcff")
    with pytest.raises(UsageError, match="LEDGER_ACTOR"):
        Ledger.open(fleet.config)


def test_every_method_is_called_with_the_fields_of_its_request() -> None:
    """So that every argument is checked: only these methods take none, or the request itself."""
    methods = {
        name: inspect.signature(one)
        for name, one in inspect.getmembers(Ledger, inspect.isfunction)
        if not name.startswith("_")
    }
    asked = {
        kind.method: inspect.signature(kind)
        for kind in vars(requests).values()
        if isinstance(kind, type) and issubclass(kind, Request) and hasattr(kind, "method")
    }
    assert methods.keys() - asked.keys() == {"run", "init", "lint", "head"}
    for name, signature in asked.items():
        assert list(methods[name].parameters)[1:] == list(signature.parameters)


async def test_a_request_is_run_as_the_method_of_its_name(tmp_path: Path) -> None:
    """A program that was sent a request hands it on; it is checked like the arguments of the method."""
    fleet = Fleet(tmp_path, tenants=2)
    async with fleet.open() as ledger:
        report = await ledger.run(requests.Migrate("t0", reason="one first"))
        assert report.summary == {"migrated": 1}
        events = [row async for row in ledger.run(requests.ReadHistory("t0", limit=1))]
        assert [row.type for row in events] == ["completed"]
        with pytest.raises(UsageError, match="parallel is 0"):
            ledger.run(requests.Migrate(parallel=0))


async def test_a_number_of_failures_may_be_a_number(tmp_path: Path) -> None:
    """`max_failures=0` stops at the first failure, as `--max-failures 0` does."""
    fleet = Fleet(tmp_path, tenants=3)
    fleet.write("002_wrong.sql", "SELECT * FROM nowhere;")
    report = await fleet.open().migrate(parallel=1, max_failures=0)
    assert report.summary == {"failed": 1, "not_run": 2}


async def test_an_event_that_nobody_could_read_is_not_recorded(tmp_path: Path) -> None:
    """One unreadable body would close the whole ledger; it is refused, and the ledger stays open."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    before = await fleet.open().head()
    wrong = ev.DriftDetected(kind="schema", expected=None)  # type: ignore[arg-type]
    new = ev.NewEvent(event=wrong, run="r", actor="a")
    async with fleet.open() as ledger, ledger._ready() as ready:
        with pytest.raises(StoreError, match="drift_detected"):
            await ready.store.append(Append(stream="tenant/t0", events=(new,)))
    assert await fleet.open().head() == before


async def test_a_backup_from_before_a_time_is_found_whatever_its_spelling(tmp_path: Path) -> None:
    """`at` with an offset is that moment, and not a text that sorts somewhere."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    await fleet.open().migrate()
    first, second = await fleet.open().backups()
    from datetime import datetime, timedelta, timezone

    between = datetime.fromisoformat(second.at).astimezone(timezone(timedelta(hours=-11)))
    report = await fleet.open().restore("t0", at=between.isoformat())
    assert report.summary == {"restored": 1}
    assert not fleet.schema("t0")
    assert first.at < second.at


async def test_calls_at_once_share_one_open_ledger(tmp_path: Path) -> None:
    """The first of them opens it; the others wait for that, and open none of their own."""
    fleet = Fleet(tmp_path, tenants=1)
    await fleet.open().migrate()
    async with fleet.open() as ledger:
        seen: set[int] = set()

        async def look() -> None:
            async with ledger._ready() as ready:
                seen.add(id(ready))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(look)
        assert len(seen) == 1


async def test_an_open_ledger_is_not_opened_again(tmp_path: Path) -> None:
    """The inner `async with` would close what the outer one still uses; once closed it may open again."""
    fleet = Fleet(tmp_path, tenants=1)
    ledger = fleet.open()
    async with ledger:
        with pytest.raises(UsageError, match="open already"):
            async with ledger:
                pass
        assert (await ledger.migrate()).summary == {"migrated": 1}
    async with ledger:
        assert (await ledger.status()).summary == {"current": 1}


def test_another_event_loop_is_refused(tmp_path: Path) -> None:
    """The drivers are asyncio's: whoever awaits elsewhere is told, and nothing hangs half open."""
    fleet = Fleet(tmp_path, tenants=1)
    call = fleet.open().init()
    with pytest.raises(UsageError, match="asyncio"):
        call.send(None)
    with closing(sqlite3.connect(fleet.tenant("t0"))) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("a", hint="b", file="c", line=4),
        ConflictError("s", expected=1, found=2),
        ChainBrokenError("a", seq=3),
        StepFailedError("a", step=2, database_code="1146", tenant="t0"),
        InDoubtError("a", step=1, evidence={"before": "x"}),
        FencedError("a", found=3),
        MarkerMismatchError("a", missing=("s/1",)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_goes_from_process_to_process(error: LedgerError) -> None:
    """A pool of workers hands it on with all its fields."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error) and copy.args == error.args
    assert copy.__dict__ == error.__dict__


async def test_what_calls_return_goes_from_process_to_process(tmp_path: Path) -> None:
    """Reports, status and events are values."""
    fleet = Fleet(tmp_path, tenants=1)
    for made in (
        await fleet.open().plan(),
        await fleet.open().migrate(),
        await fleet.open().status(),
        await fleet.open().validate(),
        [row async for row in fleet.open().history()],
    ):
        assert pickle.loads(pickle.dumps(made)) == made
