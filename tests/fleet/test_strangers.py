"""Tenants of another ledger are never taken for new ones: every command says so first, and makes no ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ledger.api import Ledger
from ledger.errors import WrongLedgerError
from tests.fleet.world import Fleet
from tests.place import WITH_MYSQL, MakePlace, Place
from tests.programs import Ended

NOTES = "CREATE TABLE notes (id INTEGER PRIMARY KEY);\n-- migrate:down\nDROP TABLE notes;\n"
LOOKING = {
    "plan": 4,
    "migrate --dry-run --all-tenants": 4,
    "status": 0,
    "status --check": 4,
    "validate": 1,
    "doctor": 4,
    "history": 1,
    "history {}": 1,
    "runs": 1,
    "backups list": 1,
    "stats": 0,
    "rollback -y --all-tenants": 1,
    "restore -y --all-tenants": 1,
    "reset -y --to 0 --all-tenants": 1,
    "unlock -y --reason x --all-tenants": 1,
    "maintain --task orphans --all-tenants": 0,
    "rehearse --all-tenants": 3,
    "migrate --all-tenants": 1,
}


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, tmp_path: Path, make_place: MakePlace) -> Place:
    """Two tenants that a ledger has migrated; `ledger.db` is gone since, and `other.db` is it."""
    made = make_place(request.param)
    made.migration("001_notes.sql", NOTES)
    made.ok("migrate", "--all-tenants")
    (tmp_path / "ledger.db").rename(tmp_path / "other.db")
    return made


def first_line(ended: Ended) -> str:
    """What a person sees first: progress and warnings on stderr, then the result."""
    return (ended.err or ended.out).splitlines()[0]


def says_so(ended: Ended, command: str) -> None:
    """It is the first thing said, and the likely cause stands before the way to take a tenant over."""
    text = ended.err + ended.out
    if not command.startswith("doctor"):
        assert "to another ledger" in first_line(ended), (command, ended)
    assert "2 of 2 tenants" in text or "1 of 1 tenants" in text, (command, ended)
    assert text.index("wrong ledger") < text.index("ledger baseline"), (command, ended)
    assert "would change 2" not in text and " new" not in text and "all valid" not in text


def test_without_their_ledger_every_command_says_whose_they_are(place: Place) -> None:
    """Wrong --config or --env, a deleted or moved file: nothing is called new, valid or current, and
    no ledger is made beside tenants that have one."""
    before = {name: place.run(name, "SELECT id, epoch FROM ledger_marker") for name in place.names}
    for command, code in LOOKING.items():
        ended = place.ended(*command.format(place.names[0]).split())
        says_so(ended, command)
        assert ended.code == code, (command, ended)
        assert not (place.folder / "ledger.db").exists(), command
    after = {name: place.run(name, "SELECT id, epoch FROM ledger_marker") for name in place.names}
    assert before == after


def test_an_empty_ledger_in_the_place_of_theirs_says_so_too(place: Place) -> None:
    """As after `ledger init`: it records nothing of tenants that are not its own."""
    anyio.run(place.open().init)
    for command in LOOKING:
        ended = place.ended(*command.format(place.names[0]).split())
        says_so(ended, command)
    with closing(sqlite3.connect(place.folder / "ledger.db")) as ledger:
        assert ledger.execute("SELECT type FROM event_log").fetchall() == []


def test_one_stranger_does_not_stop_the_others(place: Place) -> None:
    """It is named and left alone; the tenants of this ledger are migrated."""
    stranger, own = place.names
    marker = "DROP TABLE ledger_marker"
    place.run(own, marker, "DROP TABLE notes")
    anyio.run(place.open().init)
    plan = place.ended("plan", "--format", "json")
    problems = {one["tenant"]: one["problem"] for one in plan.json()["tenants"]}
    assert "another ledger" in problems[stranger] and not problems[own]
    ended = place.ended("migrate", "--all-tenants", "--format", "json")
    results = {one["tenant"]: one["result"] for one in ended.json()["outcomes"]}
    assert ended.code == 3 and results == {stranger: "failed", own: "migrated"}
    status = place.ok("status", "--format", "json").json()
    states = {one["tenant"]: one["state"] for one in status["tenants"]}
    assert states == {stranger: "foreign", own: "current"}
    validated = place.ended("validate", "--format", "json")
    findings = {one["tenant"]: one.get("error") for one in validated.json()["findings"]}
    assert validated.code == 3 and findings == {stranger: "foreign", own: None}
    assert "1 of 2 tenants" in first_line(validated)
    assert place.ended("history", stranger).code == 1
    assert "completed" in [one["type"] for one in place.events(own)]


def test_a_baseline_takes_them_over_and_says_it_first(place: Place) -> None:
    """Where their ledger is lost for good; afterwards they are this ledger's, on every command."""
    ended = place.ok("baseline", "--to", "001", "--all-tenants", "-y", "--format", "json")
    assert "to another ledger" in first_line(ended)
    warnings = [text for one in ended.json()["outcomes"] for text in one["warnings"]]
    assert len(warnings) == 2 and all("taken over" in text for text in warnings)
    place.migration("002_more.sql", "CREATE TABLE more (id INTEGER PRIMARY KEY);\n")
    ended = place.ok("migrate", "--all-tenants")
    assert "another ledger" not in ended.err
    assert "all valid" in place.ok("validate").out


@pytest.mark.parametrize("wide", [False, True], ids=["one page", "many pages"])
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le"])
async def test_a_marker_is_seen_in_every_kind_of_file(
    tmp_path: Path, encoding: str, mode: str, wide: bool
) -> None:
    """Most files are told by their first page alone; where that has not the whole schema they are opened."""
    fleet = Fleet(tmp_path, tenants=0)
    for name in ("t0", "plain"):
        with closing(sqlite3.connect(fleet.tenant(name))) as database:
            database.execute(f"PRAGMA encoding = '{encoding}'")
            database.execute(f"PRAGMA journal_mode = {mode}")
            for number in range(300 if wide else 1):
                database.execute(f"CREATE TABLE own_{number} (id INTEGER PRIMARY KEY, words TEXT)")
            database.commit()
    await fleet.open().migrate("t0")
    (tmp_path / "ledger.db").unlink()
    plan = await fleet.open().plan()
    assert {one.tenant: bool(one.problem) for one in plan.tenants} == {"t0": True, "plain": False}


async def test_a_long_lived_ledger_refuses_from_python_too(tmp_path: Path) -> None:
    """The error is of its own type; `Ledger.init` is the way to a new ledger beside them."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    (tmp_path / "ledger.db").unlink()
    async with Ledger.open(fleet.config) as ledger:
        with pytest.raises(WrongLedgerError, match="2 of 2 tenants"):
            await ledger.migrate()
        assert not (tmp_path / "ledger.db").exists()
        await ledger.init()
        report = await ledger.migrate()
        assert {one.error for one in report.outcomes} == {"foreign"} and not report.run
        assert (await ledger.head()).seq == 0
