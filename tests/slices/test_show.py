"""`ledger show`: an event with what stands beside it, and a migration as it ran, from the ledger alone."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger import Show, ShownEvent, ShownMigration, UsageError
from tests.fleet.world import BASE, Fleet
from tests.place import ENGINES, MakePlace

NOTES = """\
-- step: Make notes
CREATE TABLE notes (id INTEGER PRIMARY KEY);
-- step: Make more
CREATE TABLE more (id INTEGER PRIMARY KEY);
-- migrate:down
DROP TABLE more;
DROP TABLE notes;
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_an_event_with_all_that_belongs_to_it(make_audited: MakePlace, engine: str) -> None:
    """Its neighbours on its stream, its run, its migration's text and its own statement, also of the file's gone."""
    place = make_audited(engine)
    place.migration("001_notes.sql", NOTES).chmod(0o600)
    place.ok("migrate", "--all-tenants", "--no-backup")
    (place.folder / "migrations/app/001_notes.sql").unlink()
    tenant = place.names[0]
    events = place.events(tenant)
    at = next(i for i, one in enumerate(events) if one["type"] == "step_applied") + 1
    event = events[at]
    assert event["body"]["step"] == 2
    found = place.ok("show", str(event["seq"]), "--format", "json").json()
    assert found["event"] == event
    assert found["before"] == events[max(0, at - 3) : at]
    assert found["after"] == events[at + 1 : at + 4]
    assert (found["run"]["run"], found["run"]["state"]) == (event["run"], "finished")
    assert found["migration"]["id"] == "app/001"
    (text,) = found["migration"]["texts"]
    assert (text["part"], text["state"], text["text"]) == ("file", "kept", NOTES)
    assert found["statement"]["sql"] == "CREATE TABLE more (id INTEGER PRIMARY KEY)"
    assert (found["statement"]["line"], found["statement"]["name"]) == (4, "Make more")
    shown = place.ok("show", str(event["seq"])).out
    assert shown.startswith(f"Event {event['seq']}: step_applied, app/001 2/2 Make more")
    assert re.search(rf"(?m)^> +{event['seq']} ", shown)
    assert "    CREATE TABLE more" in shown and "`ledger show app/001`" in shown
    rows = place.ok("show", str(event["seq"]), "--format", "csv").out.splitlines()
    assert rows[0].startswith("seq,stream,") and len(rows) > 3
    whole = place.ok("show", str(events[-1]["seq"])).out
    assert "completed" in whole and "DROP TABLE notes;" in whole
    beyond = place.ended("show", "9999")
    assert beyond.code == 2 and "its last one is" in beyond.err and "Traceback" not in beyond.err


@pytest.mark.parametrize("engine", ENGINES)
def test_a_migration_wherever_it_ran_and_what_undid_it(
    make_audited: MakePlace, engine: str
) -> None:
    """Applied, rolled back, applied again with another text, baselined, failed; on all tenants, or on one."""
    place = make_audited(engine)
    place.migration("001_notes.sql", NOTES)
    acme, beta = place.names
    place.ok("migrate", "--tenant", acme)
    place.ok("rollback", "--tenant", acme, "-y", "--reason", "too soon")
    place.migration("001_notes.sql", NOTES.replace("Make more", "Make others"))
    place.ok("migrate", "--tenant", acme)
    place.ok("baseline", "--tenant", beta, "--to", "001", "-y")
    found = place.ok("show", "app/001", "--format", "json").json()
    assert found == place.ok("show", "001", "--format", "json").json()
    assert [one["how"] for one in found["ran"]] == ["applied", "applied", "baselined"]
    assert found["summary"] == {"applied": 1, "baselined": 1}
    first, second, counted = found["ran"]
    assert first["undone"]["how"] == "rolled_back" and first["undone"]["seq"] > first["seq"]
    assert second["undone"] is None and first["checksum"] != second["checksum"]
    assert (counted["tenant"], counted["actor"]) == (beta, first["actor"])
    assert [one["texts"][0]["text"] for one in found["editions"]] == [
        NOTES,
        NOTES.replace("Make more", "Make others"),
    ]
    assert [step["direction"] for step in found["editions"][0]["steps"]] == [
        "up", "up", "down", "down",
    ]  # fmt: skip
    shown = place.ok("show", "001").out
    assert "rolled back" in shown and "1 applied, 1 baselined" in shown
    one = place.ok("show", "001", "--tenant", beta, "--format", "csv").out.splitlines()
    assert one[1].startswith(f"{beta},baselined,") and len(one) == 2
    place.migration("002_bad.sql", "INSERT INTO nothing VALUES (1);\n")
    place.ended("migrate", "--tenant", acme)
    (failed,) = place.ok("show", "002", "--format", "json").json()["ran"]
    assert (failed["how"], failed["tenant"], failed["step"]) == ("failed", acme, 1)


async def test_what_a_restore_and_a_reset_did_to_it(tmp_path: Path) -> None:
    """Both end an application; a restore also brings one back."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write(
        "002_more.sql", "CREATE TABLE more (id INTEGER);\n-- migrate:down\nDROP TABLE more;\n"
    )
    ledger = fleet.open()
    await ledger.migrate(to="001")
    await ledger.migrate()
    await ledger.rollback("t0", by="backup")
    await ledger.migrate()
    await ledger.reset("t0", drop_all=True)
    found = await ledger.run(Show("002"))
    assert isinstance(found, ShownMigration)
    assert [one.undone.how for one in found.ran if one.undone] == ["restored", "reset"]
    assert found.counts == {"undone": 1}
    assert [one.state for one in found.editions[0].texts] == ["kept"]


async def test_which_of_the_two_is_meant(tmp_path: Path) -> None:
    """A plain number is a seq unless the ledger ends before it; SET/VERSION is never one."""
    fleet = Fleet(tmp_path, tenants=1)
    (fleet.migrations / "001_notes.sql").rename(fleet.migrations / "2_notes.sql")
    fleet.write("20261121103000_more.sql", "CREATE TABLE more (id INTEGER);\n")
    ledger = fleet.open()
    await ledger.migrate()
    assert isinstance(await ledger.show("2"), ShownEvent)
    assert isinstance(await ledger.show(2), ShownEvent)
    one = await ledger.show("migrations/2")
    assert isinstance(one, ShownMigration) and one.id == "migrations/2"
    assert isinstance(await ledger.show("2", tenant="t0"), ShownMigration)
    assert isinstance(await ledger.show("20261121103000"), ShownMigration)
    with pytest.raises(UsageError, match="no event 20261121103001"):
        await ledger.show("20261121103001")
    with pytest.raises(UsageError, match="no migration '02'") as caught:
        await ledger.show("02")
    assert "migrations/2" in caught.value.hint or "2" in caught.value.hint


async def test_a_text_that_is_gone_or_changed_is_said_so(tmp_path: Path) -> None:
    """What is left is shown; nothing is taken from the folder."""
    fleet = Fleet(tmp_path, tenants=1)
    ledger = fleet.open()
    await ledger.migrate()
    changed = BASE.replace("notes", "other")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE scripts SET content = ? WHERE content = ?", (changed, BASE))
        database.commit()
    found = await ledger.show("001")
    assert isinstance(found, ShownMigration)
    (text,) = found.editions[0].texts
    assert (text.state, text.text, found.editions[0].parsed) == ("changed", None, None)
    assert len(found.ran) == 1
