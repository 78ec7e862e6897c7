"""`export`: the state as a version.json, the ledger's end as an anchor, all events."""

from __future__ import annotations

import json

import pytest

from ledger.scripts.manifest import read_version_file
from tests.place import ENGINES, MakePlace, Place


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants; the first has both migrations, the second the first one alone."""
    place = make_place(request.param)
    place.migration("001_first.sql", "CREATE TABLE first (id INTEGER);")
    place.migration("002_second.sql", "-- depends: 001\nCREATE TABLE second (id INTEGER);")
    said = {"001": {"description": "The first", "tables_created": ["first"], "dependencies": []}}
    place.terminal.write("migrations/app/version.json", json.dumps({"migrations": said}))
    place.ok("migrate", "--all-tenants", "--to", "001")
    place.ok("migrate", "--tenant", place.names[0])
    return place


def test_version_json_has_the_state_filled_in(place: Place) -> None:
    """What is applied, since when and by whom; the current and the target version; no lock."""
    first, second = place.names
    one = place.ok("export", "--version-json", "--tenant", first).json()
    assert (one["tenant"], one["set"]) == (first, "app")
    assert (one["current_version"], one["target_version"], one["locked"]) == ("002", "002", False)
    assert one["last_check"].endswith("Z") and one["status"] == "current"
    assert list(one["migrations"]) == ["001", "002"]
    entry = one["migrations"]["001"]
    assert entry["description"] == "The first" and entry["file"] == "001_first.sql"
    assert entry["tables_created"] == ["first"] and entry["checksum"].startswith("sha256:")
    assert entry["applied"] is True and entry["applied_at"].endswith("Z")
    assert entry["applied_by"] and entry["execution_time"] > 0
    assert one["migrations"]["002"]["dependencies"] == ["001"]
    both = place.ok("export", "--version-json").json()
    assert [document["tenant"] for document in both] == [first, second]
    assert both[1]["migrations"]["002"] | {"applied": False} == both[1]["migrations"]["002"]
    lines = place.ok("export", "--version-json", "--format", "jsonl").lines()
    assert lines == both


def test_what_is_printed_can_stand_beside_the_migrations(place: Place) -> None:
    """It reads back as the version.json of the set, and nothing is pending or edited afterwards."""
    first = place.names[0]
    printed = place.ok("export", "--version-json", "--tenant", first).out
    read = read_version_file(printed.encode(), file="version.json")
    assert all("unknown" not in warning for warning in read.warnings)
    assert read.entries[(1,)].description == "The first"
    place.terminal.write("migrations/app/version.json", printed)
    assert place.ok("migrate", "--tenant", first).out.endswith("1 tenant is current.\n")


def test_head_is_an_anchor_for_verify(place: Place) -> None:
    """The line holds as long as the ledger only grows; another one is refused."""
    line = place.ok("export", "--head").out
    place.ok("migrate", "--all-tenants")
    place.ok("verify", "--anchor", line.strip())
    seq, hashed = line.split()
    wrong = hashed.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    assert place.ended("verify", "--anchor", f"{seq} {wrong}").code == 4
    assert place.ended("export", "--head", "--tenant", place.names[0]).code == 2
    assert place.ended("export").code == 2


def test_events_are_the_whole_ledger(place: Place) -> None:
    """One envelope a line, seq without gaps; with --tenant those of that tenant."""
    events = place.ok("export", "--events").lines()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    ours = place.ok("export", "--events", "--tenant", place.names[1]).lines()
    assert ours == place.events(place.names[1])


async def test_from_python(place: Place) -> None:
    """The same values."""
    documents = await place.open().version_documents(place.names[1])
    assert documents[0]["current_version"] == "001" and documents[0]["status"] == "pending"
    head = await place.open().head()
    report = await place.open().verify(anchor=f"{head.seq} {head.hash}")
    assert report.sound
