"""Every failure of a run leaves a trace: an event on the tenant's stream, or on the run's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.faults import commands
from tests.place import WITH_MYSQL, MakePlace, Place
from tests.programs import wait_for

FIRST = "CREATE TABLE notes (id INTEGER PRIMARY KEY);\n"
SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
    " SELECT count(*) FROM n;\n",
    "mysql": "DO SLEEP(60);\n",
    "mariadb": "DO SLEEP(60);\n",
}


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants at 001, without down steps."""
    head = "[timeouts]\nwait_seconds = 0.5\nconnect_seconds = 5\n"
    place = make_place(request.param, head=head)
    place.migration("001_first.sql", FIRST)
    place.ok("migrate", "--all-tenants")
    return place


def traces(place: Place, tenant: str, run: str) -> list[str]:
    """What this run recorded of the tenant, wherever: type and reason."""
    found: list[dict[str, Any]] = place.ok("history", "--run", run, "--format", "jsonl").lines()
    return [
        f"{one['type']} {one['body'].get('reason') or one['body'].get('error')}"
        for one in found
        if one["type"] in ("failed", "tenant_skipped")
        and tenant in (one["tenant"], one["body"].get("of"))
    ]


def vanish(place: Place, tenant: str) -> None:
    """Its database cannot be opened any more."""
    if place.engine == "sqlite":
        (place.folder / "data" / f"{tenant}.db").write_bytes(b"no database " * 1000)
    else:
        place.run(tenant, f"DROP DATABASE `{tenant}`")


UNREACHABLE: dict[str, tuple[str, ...]] = {
    "migrate": ("migrate",),
    "rollback": ("rollback", "-y"),
    "baseline": ("baseline", "--to", "002", "-y"),
    "reset": ("reset", "--to", "0", "--mark-only", "-y"),
    "drop": ("reset", "--drop-all", "-y"),
    "maintain": ("maintain", "--task", "optimize", "-y"),
}


@pytest.mark.parametrize("command", UNREACHABLE)
def test_a_tenant_that_cannot_be_opened(place: Place, command: str) -> None:
    """Whatever was wanted of it."""
    first, second = place.names
    place.migration("002_second.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    vanish(place, second)
    arguments = UNREACHABLE[command]
    if command == "drop":
        arguments = (*arguments, "--yes-drop", second)
    ended = place.ended(*arguments, "--tenant", second, "--format", "json")
    assert ended.code in (2, 3), ended
    run = place.ok("runs", "--format", "json").json()[-1]
    assert run["command"] in (command, "reset")
    assert len(traces(place, second, run["run"])) == 1
    assert traces(place, first, run["run"]) == []
    place.ok("verify")


def test_what_is_refused_without_a_claim(place: Place) -> None:
    """A late version, and a rollback without a way: each with its reason; the state is as it was."""
    first = place.names[0]
    place.migration("003_third.sql", "CREATE TABLE third (id INTEGER PRIMARY KEY);\n")
    place.ok("migrate", "--tenant", first)
    late = place.migration("002_late.sql", "CREATE TABLE late (id INTEGER PRIMARY KEY);\n")
    ended = place.ended("migrate", "--tenant", first, "--format", "json")
    assert ended.code == 3
    assert traces(place, first, ended.json()["run"]) == ["tenant_skipped refused"]
    late.unlink()
    ended = place.ended("rollback", "--tenant", first, "--by", "script", "-y", "--format", "json")
    assert ended.code == 3
    assert traces(place, first, ended.json()["run"]) == ["tenant_skipped restore_failed"]
    (row,) = place.ok("status", "--tenant", first, "--format", "json").json()["tenants"]
    assert (row["state"], row["error"]) == ("current", None)
    assert place.ok("migrate", "--tenant", first).out.startswith("Nothing to do")


def test_a_tenant_that_another_run_holds(place: Place) -> None:
    """On this run's stream, since the tenant's is the other one's; that one is not disturbed."""
    first = place.names[0]
    place.migration("002_slow.sql", SLOW[place.engine])
    running = commands.start(place.folder, "migrate", "--tenant", first)
    try:
        wait_for(
            lambda: place.ended("status", "--format", "json").json()["tenants"][0]["lock"],
            "a claim",
        )
        ended = place.ended("migrate", "--tenant", first, "--format", "json")
    finally:
        running.end()
    assert ended.code == 3
    assert ended.json()["outcomes"][0]["error"] == "claim_held"
    assert traces(place, first, ended.json()["run"]) == ["tenant_skipped claim_held"]
    assert place.events(first, "tenant_skipped") == []
    place.ok("verify")


def test_a_ledger_that_takes_nothing_more_is_asked_once_more_at_the_end(place: Place) -> None:
    """Not once for each tenant: one that does not answer would keep a fleet waiting for hours."""
    place.migration("002_second.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    with closing(sqlite3.connect(place.folder / "ledger.db")) as ledger:
        ledger.execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON events"
            " WHEN (SELECT name FROM event_names WHERE kind = 4 AND id = NEW.type)"
            " IN ('started', 'tenant_skipped')"
            " BEGIN SELECT RAISE(ABORT, 'takes nothing more'); END"
        )
        ledger.commit()
    ended = place.ended("migrate", "--all-tenants", "--format", "json")
    assert ended.code != 0
    lost = [line for line in ended.err.splitlines() if "could not be recorded" in line]
    assert [name for name in place.names if not any(name in line for line in lost)] == []
    assert len(lost) == len(place.names) + 1
