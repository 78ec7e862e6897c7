"""`ledger blame`: what brought a table or a column, through renames, rebuilds, and what undid them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from ledger import Blame, Blamed, Ledger, ShownMigration, UnknownTenantError
from tests.cli.terminal import Terminal
from tests.fleet.world import Fleet
from tests.place import WITH_MYSQL, MakePlace

FIRST = """\
-- step: Make notes
CREATE TABLE notes (id INTEGER PRIMARY KEY, body VARCHAR(90), tag VARCHAR(20));
CREATE INDEX by_tag ON notes (tag);
-- migrate:down
DROP TABLE notes;
"""
SECOND = """\
ALTER TABLE notes ADD COLUMN weight INTEGER;
INSERT INTO notes (id, body) VALUES (1, 'x');
-- migrate:down
DELETE FROM notes;
ALTER TABLE notes DROP COLUMN weight;
"""
THIRD = """\
ALTER TABLE notes RENAME COLUMN body TO content;
ALTER TABLE notes RENAME TO pages;
CREATE VIEW titles AS SELECT content FROM pages;
-- migrate:down
DROP VIEW titles;
ALTER TABLE pages RENAME TO notes;
ALTER TABLE notes RENAME COLUMN content TO body;
"""
REBUILD = """\
CREATE TABLE new_pages (id INTEGER PRIMARY KEY, content VARCHAR(90), more VARCHAR(9));
INSERT INTO new_pages (id, content) SELECT id, content FROM pages;
DROP VIEW titles;
DROP TABLE pages;
ALTER TABLE new_pages RENAME TO pages;
"""


Told = list[tuple[str, str, str | None]]


def entries(found: dict[str, Any]) -> Told:
    """What, by and version of all entries, the one that brought it first."""
    return [
        (one["what"], one["by"], one["migration"] and one["migration"].rpartition("/")[2])
        if one is not None
        else ("", "", None)
        for one in (found["brought"], *found["changes"])
    ]


async def story(ledger: Ledger, name: str, tenant: str) -> Told:
    """The same, from Python."""
    return entries(msgspec.to_builtins(await ledger.blame(name, tenant)))


@pytest.mark.parametrize("engine", WITH_MYSQL)
def test_renames_and_rebuilds_are_followed(make_audited: MakePlace, engine: str) -> None:
    """A table that was renamed, a column that was, and both through a rebuild; with step, run and actor."""
    place = make_audited(engine)
    for number, text in enumerate((FIRST, SECOND, THIRD, REBUILD), 1):
        place.migration(f"{number:03}_m.sql", text)
    tenant = place.names[0]

    def blame(name: str) -> dict[str, Any]:
        found: dict[str, Any] = place.ok(
            "blame", name, "--tenant", tenant, "--format", "json"
        ).json()
        return found

    place.ok("migrate", "--all-tenants", "--to", "002")
    assert entries(blame("notes.weight")) == [("created", "migration", "002")]
    assert entries(blame("notes")) == [
        ("created", "migration", "001"),
        ("indexed", "migration", "001"),
        ("altered", "migration", "002"),
        ("rows", "migration", "002"),
    ]
    place.ok("migrate", "--all-tenants")
    assert entries(blame("pages.content")) == [
        ("created", "migration", "001"),
        ("renamed", "migration", "003"),
        ("rebuilt", "migration", "004"),
    ]
    assert entries(blame("PAGES.more")) == [("rebuilt", "migration", "004")]
    dropped = blame("pages.weight")
    assert (dropped["state"], dropped["brought"]["migration"]) == ("dropped", "app/002")
    (view,) = blame("titles")["changes"]
    last = place.events(tenant, "completed")[-1]
    assert (view["what"], view["run"], view["actor"]) == ("dropped", last["run"], last["actor"])
    made = blame("pages")
    assert made["brought"]["step"] == 1 and made["brought"]["step_name"] == "Make notes"
    assert "CREATE TABLE notes" in made["brought"]["sql"] and made["state"] == "there"
    assert [(one["what"], one["was"]) for one in made["changes"] if one["was"]] == [
        ("renamed", "notes")
    ]
    shown = place.ok("blame", "pages.content", "--tenant", tenant).out
    assert "renamed, was body" in shown and f"ledger show {made['brought']['seq']}" in shown
    lines = place.ok("blame", "pages", "--tenant", tenant, "--format", "csv").out.splitlines()
    assert lines[0].startswith("role,what,by,") and lines[1].startswith("brought,created,migration")


async def test_what_a_rollback_and_a_restore_took_back(tmp_path: Path) -> None:
    """By the down steps: dropped. By a backup: what came after it is no more, and the restore is named."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("002_more.sql", "ALTER TABLE notes ADD COLUMN weight INTEGER;\n")
    ledger = fleet.open()
    await ledger.migrate(to="001")
    await ledger.migrate()
    await ledger.rollback("t0", by="backup")
    assert await story(ledger, "notes", "t0") == [
        ("created", "migration", "001"),
        ("indexed", "migration", "001"),
        ("restored", "restore", None),
    ]
    assert (await ledger.blame("notes.weight", "t0")).brought is None
    await ledger.rollback("t0", by="script")
    gone = await ledger.blame("notes", "t0")
    assert gone.state == "dropped" and gone.changes[-1].by == "rollback"
    await ledger.migrate()
    again = await ledger.blame("notes", "t0")
    assert (
        again.state == "there" and again.brought is not None and again.changes[0].what == "indexed"
    )
    await ledger.reset("t0", drop_all=True)
    assert (await ledger.blame("notes", "t0")).state == "dropped"


async def test_what_no_statement_in_a_text_says(tmp_path: Path) -> None:
    """Python by the schemas around it, a section sync, a baseline, and what was done by hand."""
    fleet = Fleet(tmp_path, tenants=2, extra="allow_python = true")
    ledger = fleet.open()
    fleet.run("t0", "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    await ledger.baseline("t0", to="001")
    await ledger.migrate()
    fleet.write(
        "002_python.py",
        "async def up(tenant):\n"
        "    for name in ('one', 'two'):\n"
        "        await tenant.execute(f'CREATE TABLE {name} (id INTEGER)')\n"
        "    await tenant.execute('ALTER TABLE notes ADD COLUMN by_python INTEGER')\n",
    )
    fleet.write(
        "003_sync.sql",
        "-- migrate:sync\nCREATE TABLE tags (name TEXT PRIMARY KEY);\n"
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, synced TEXT);\n",
    )
    await ledger.migrate()
    assert await story(ledger, "notes", "t0") == [
        ("created", "baseline", "001"),
        ("indexed", "baseline", "001"),
        ("altered", "python", "002"),
        ("altered", "sync", "003"),
    ]
    assert await story(ledger, "two", "t1") == [("created", "python", "002")]
    assert await story(ledger, "notes.by_python", "t1") == [("created", "python", "002")]
    assert await story(ledger, "tags", "t1") == [("created", "sync", "003")]
    assert await story(ledger, "notes.synced", "t1") == [("created", "sync", "003")]
    fleet.run("t1", "ALTER TABLE notes ADD COLUMN mine TEXT; CREATE TABLE extra (x)")
    await ledger.validate("t1")
    await ledger.validate("t1")
    await ledger.validate("t1", accept=True, reason="ours")
    hand = await ledger.blame("extra", "t1")
    assert hand.brought is not None and (hand.brought.what, hand.brought.by) == ("created", "hand")
    assert await story(ledger, "notes.mine", "t1") == [("created", "hand", None)]


async def test_a_guard_that_held_says_that_it_was_there(tmp_path: Path) -> None:
    """`skip-if` and IF NOT EXISTS: found, and brought by nothing on record."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.run("t0", "CREATE TABLE old (id INTEGER, c TEXT); CREATE TABLE older (id INTEGER)")
    fleet.write(
        "002_old.sql",
        "-- skip-if: table old\nCREATE TABLE old (id INTEGER);\n"
        "-- skip-if: column old.c\nALTER TABLE old ADD COLUMN c TEXT;\n"
        "CREATE TABLE IF NOT EXISTS older (id INTEGER);\n",
    )
    ledger = fleet.open()
    await ledger.migrate()
    for name in ("old", "old.c", "older"):
        assert (await story(ledger, name, "t0"))[0] == ("found", "migration", "002"), name


async def test_a_secret_statement_is_not_shown(tmp_path: Path) -> None:
    """Neither by blame nor by show, in no format."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("002_s.sql", "-- secret\nINSERT INTO notes (text) VALUES ('hunter2');\n")
    ledger = fleet.open()
    await ledger.migrate()
    found = await ledger.blame("notes", "t0")
    assert found.changes[-1].what == "rows" and "withheld" in found.changes[-1].sql
    shown = await ledger.show("002")
    assert isinstance(shown, ShownMigration)
    (kept,) = shown.editions
    assert "hunter2" not in json.dumps([one.text for one in kept.texts])
    assert "withheld" in str(kept.texts[0].text)


def test_what_is_not_on_record(terminal: Terminal) -> None:
    """A hint, and the nearest tenant; nothing is an internal error."""
    fleet = Fleet(terminal.folder / "here", tenants=1)
    config = ("--config", str(fleet.config))
    terminal.ok("migrate", "--all-tenants", *config)
    shown = terminal.ok("blame", "nothing.here", "--tenant", "t0", *config)
    assert "no migration on record" in shown.out and "ledger schema t0" in shown.out
    lost = terminal.run("blame", "notes", "--tenant", "t9", *config)
    assert lost.code == 2 and "'t9'" in lost.err
    assert terminal.run("blame", "notes", *config).code == 2


def test_a_prefix_is_any_tenants_own(make_place: MakePlace) -> None:
    """`notes`, `wp_notes` and `{prefix}notes` are the same table of a prefix tenant."""
    place = make_place("mariadb")
    config = place.folder / "ledger.toml"
    config.write_text(config.read_text().replace('prefix = ""', 'prefix = "wp_"'))
    place.migration("001_m.sql", "CREATE TABLE {prefix}notes (id INT PRIMARY KEY);\n")
    place.migration("002_m.sql", "ALTER TABLE {prefix}notes ADD (a INT, b INT);\n")
    place.ok("migrate", "--all-tenants")
    tenant = place.names[0]

    async def ask() -> None:
        ledger = place.open()
        for name in ("notes", "wp_notes", "{prefix}notes"):
            assert (await story(ledger, name, tenant))[0] == ("created", "migration", "001")
        found = await ledger.run(Blame(name="wp_notes.b", tenant=tenant))
        assert isinstance(found, Blamed) and found.brought is not None
        assert (found.brought.migration, found.brought.step) == ("app/002", None)
        with pytest.raises(UnknownTenantError):
            await ledger.blame("notes", "nobody")

    anyio.run(ask)
