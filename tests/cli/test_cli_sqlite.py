"""Every command on real SQLite tenants, as a person would type them one after the other."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, sqlite_rows, sqlite_run

FIRST = """\
-- step: Create users
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
-- step: Create index on users.name
CREATE INDEX idx_users_name ON users(name);
-- migrate:down
DROP INDEX idx_users_name;
DROP TABLE users;
-- migrate:verify
-- check: Users table exists
SELECT count(*) = 1 FROM sqlite_master WHERE name = 'users';
"""
SECOND = """\
-- step: Add age column
-- skip-if: column users.age
ALTER TABLE users ADD COLUMN age INTEGER;
-- step: Fill it
UPDATE users SET age = 7;
"""
CONFIG = """\
migrations = "migrations/app"
[[tenants]]
sqlite = "data/*.db"
"""


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """Three tenants that each have a table of their own, one migration, nothing applied."""
    terminal.write("ledger.toml", CONFIG)
    terminal.write("migrations/app/001_users.sql", FIRST)
    for name in ("acme", "beta", "gamma"):
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    return terminal


def tables(terminal: Terminal, tenant: str) -> set[str]:
    """The tables of a tenant, without the marker."""
    path = terminal.folder / f"data/{tenant}.db"
    names = {
        row[0] for row in sqlite_rows(path, "SELECT name FROM sqlite_master WHERE type='table'")
    }
    return names - {"ledger_marker", "sqlite_sequence"}


def states(terminal: Terminal) -> dict[str, str]:
    """Each tenant's state."""
    status = terminal.ok("status", "--format", "json").json()
    return {row["tenant"]: row["state"] for row in status["tenants"]}


def test_plan_migrate_status(terminal: Terminal) -> None:
    """The plan touches nothing; migrate does what it said; a second time nothing is to do."""
    planned = terminal.ok("plan").out
    assert "3 tenants, new: acme, beta, gamma" in planned
    assert "+ app/001 users (2 steps)" in planned and "Step 1: Create users" in planned
    assert terminal.ok("migrate", "--all-tenants", "--dry-run").out == planned
    assert tables(terminal, "acme") == {"mine"}
    ended = terminal.ok("migrate", "--all-tenants")
    assert "3 migrated" in ended.out
    assert "acme: migrated, app/001" in ended.err and len(ended.err.splitlines()) == 3
    assert tables(terminal, "acme") == {"mine", "users"}
    assert set(states(terminal).values()) == {"current"}
    assert terminal.ok("migrate", "--all-tenants").out == "Nothing to do: 3 tenants are current.\n"
    assert "Nothing to do" in terminal.ok("plan").out


def test_some_tenants(terminal: Terminal) -> None:
    """--tenant takes names and patterns, again and again; the others stay as they are."""
    terminal.ok("migrate", "--tenant", "ac*", "--tenant", "beta")
    assert states(terminal) == {"acme": "current", "beta": "current", "gamma": "new"}
    ended = terminal.run("migrate", "--all-tenants", "--tenant", "acme")
    assert ended.code == 2 and "exclude each other" in ended.err


def test_status_has_the_promised_shape(terminal: Terminal) -> None:
    """The JSON of docs/interface.md: ledger, tenants, summary; --check ends with 4 until all is current."""
    assert terminal.ok("init", "other").code == 0
    terminal.ok("migrate", "--tenant", "acme")
    ended = terminal.run("status", "--format", "json", "--check")
    assert ended.code == 4
    status = ended.json()
    assert set(status) == {"ledger", "tenants", "summary"}
    assert set(status["ledger"]) == {"url", "seq", "hash"}
    acme, beta, _ = status["tenants"]
    at = acme.pop("last_event_at")
    assert acme.pop("last_validated_at").endswith("Z")
    assert at.endswith("Z") and acme == {
        "target": "001",
        "tenant": "acme",
        "engine": "sqlite",
        "set": "app",
        "version": "001",
        "state": "current",
        "applied": ["001"],
        "pending": [],
        "lock": None,
        "error": None,
    }
    assert beta["pending"] == ["001"] and beta["version"] is None
    assert status["summary"] == {"current": 1, "new": 2}
    terminal.ok("migrate", "--all-tenants")
    assert terminal.ok("status", "--check").code == 0


def test_history_of_one_tenant(terminal: Terminal) -> None:
    """started, backup_created, one event a step, validated, completed; gapless; one envelope a line."""
    terminal.ok("migrate", "--all-tenants", "--reason", "ticket 7")
    events = terminal.ok("history", "acme", "--format", "jsonl").lines()
    assert [event["type"] for event in events] == [
        "started",
        "backup_created",
        "step_applied",
        "step_applied",
        "validated",
        "completed",
    ]
    assert [event["version"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert list(events[0]) == [
        "seq",
        "stream",
        "version",
        "type",
        "at",
        "run",
        "actor",
        "tenant",
        "body",
    ]
    everything = terminal.ok("history", "--format", "json").json()
    assert [event["seq"] for event in everything] == list(range(1, len(everything) + 1))
    run = events[0]["run"]
    assert len(terminal.ok("history", "--run", run, "--format", "jsonl").lines()) == len(everything)
    assert "ticket 7" in terminal.ok("history", "--limit", "1000").out
    newest = terminal.ok("history", "--limit", "2", "--format", "jsonl").lines()
    assert [event["seq"] for event in newest] == [event["seq"] for event in everything[-2:]]
    steps = terminal.ok(
        "history", "--type", "step_applied", "--migration", "app/001", "--format", "csv"
    ).out
    assert len(list(csv.DictReader(io.StringIO(steps)))) == 6
    assert (
        terminal.ok("history", "--since", "1h", "--until", "2000-01-01").out == "No such events.\n"
    )
    wrong = terminal.run("history", "--type", "nope")
    assert wrong.code == 2 and "step_applied" in wrong.err


def test_runs_and_backups(terminal: Terminal) -> None:
    """Who did what to how many; and what can be restored."""
    terminal.ok("migrate", "--tenant", "acme", "--reason", "first")
    terminal.ok("migrate", "--all-tenants", "--no-backup")
    first, second = terminal.ok("runs", "--format", "json").json()
    assert (first["command"], first["tenants"], first["outcomes"]) == (
        "migrate",
        1,
        {"migrated": 1},
    )
    assert first["reason"] == "first" and second["outcomes"] == {"migrated": 2}
    (backup,) = terminal.ok("backups", "--format", "json").json()
    assert backup["tenant"] == "acme" and backup["applied"] == []
    assert Path(backup["path"]).stat().st_mode & 0o777 == 0o600
    assert sqlite_rows(Path(backup["path"]), "SELECT name FROM sqlite_master") == [("mine",)]
    assert "acme" in terminal.ok("backups").out and "first" in terminal.ok("runs").out


def test_rollback_by_script_and_by_backup(terminal: Terminal) -> None:
    """By down steps where there are some, otherwise from the backup; only the tenants of a run."""
    terminal.ok("migrate", "--tenant", "acme")
    run = terminal.ok("migrate", "--all-tenants", "--format", "json").json()["run"]
    assert "2 rolled back" in terminal.ok("rollback", "--run", run, "-y").out
    assert states(terminal) == {"acme": "current", "beta": "pending", "gamma": "pending"}
    assert tables(terminal, "beta") == {"mine"} and tables(terminal, "acme") == {"mine", "users"}
    terminal.write("migrations/app/002_age.sql", SECOND)
    terminal.ok("migrate", "--all-tenants")
    planned = terminal.ok("rollback", "002", "--tenant", "acme", "--dry-run").out
    assert "- app/002 age (backup " in planned and "would lose everything written since" in planned
    assert states(terminal)["acme"] == "current"
    terminal.ok("rollback", "002", "--tenant", "acme", "-y", "--by", "backup", "--reason", "oops")
    path = terminal.folder / "data/acme.db"
    assert "age" not in {row[1] for row in sqlite_rows(path, "PRAGMA table_info(users)")}
    assert states(terminal)["acme"] == "pending"
    told = terminal.ok("history", "acme", "--type", "restored", "--format", "jsonl").lines()
    assert told[-1]["body"]["reason"] == "oops"
    again = terminal.ok("rollback", "002", "--tenant", "acme", "-y")
    assert again.out == "Nothing to do: 1 tenant has none of it applied.\n"
    unknown = terminal.run("rollback", "020", "--tenant", "acme", "-y")
    assert (unknown.code, "020" in unknown.err) == (2, True)
    ended = terminal.run("rollback", "002", "--to", "001", "--tenant", "acme", "-y")
    assert ended.code == 2 and "exclude each other" in ended.err


def test_restore(terminal: Terminal) -> None:
    """The newest backup, one by its seq or its file; what was written since is gone."""
    terminal.ok("migrate", "--all-tenants")
    path = terminal.folder / "data/acme.db"
    sqlite_run(path, "INSERT INTO users (name) VALUES ('late')")
    (backup,) = terminal.ok("backups", "--tenant", "acme", "--format", "json").json()
    for which in ([], ["--backup", str(backup["seq"])], ["--backup", backup["path"]]):
        terminal.ok("migrate", "--tenant", "acme")
        terminal.ok("restore", "--tenant", "acme", "-y", *which)
        assert tables(terminal, "acme") == {"mine"}
    assert states(terminal) == {"acme": "pending", "beta": "current", "gamma": "current"}
    assert terminal.run("restore", "--tenant", "acme", "-y", "--backup", "99999").code == 2


def test_validate_finds_drift(terminal: Terminal) -> None:
    """A change from outside is named with the object, and the command ends with 4."""
    terminal.ok("migrate", "--all-tenants")
    assert "all valid" in terminal.ok("validate").out
    for name in ("acme", "beta"):
        sqlite_run(terminal.folder / f"data/{name}.db", "ALTER TABLE users ADD COLUMN hacked TEXT")
    ended = terminal.run("validate")
    assert ended.code == 4
    assert "Drift, alike in 2 tenants (acme, beta)" in ended.out and "users.hacked" in ended.out
    document = terminal.run("validate", "--format", "json").json()
    assert [one["tenant"] for one in document["findings"] if not one["valid"]] == ["acme", "beta"]


def test_a_file_that_is_gone_is_warned_of(terminal: Terminal) -> None:
    """`plan` and `validate` say so, as text and in JSON, and end as they would without."""
    path = terminal.write("migrations/app/002_age.sql", SECOND)
    terminal.ok("migrate", "--all-tenants")
    path.unlink()
    said = "app/002 is applied on 3 tenants (acme, beta, gamma), and no file is there any more"
    for command in ("plan", "validate"):
        assert f"warning: {said}" in terminal.ok(command).out
        (warning,) = terminal.ok(command, "--format", "json").json()["warnings"]
        assert warning.startswith(said)


def test_validate_warns_of_a_file_that_was_edited(terminal: Terminal) -> None:
    """The tenants are as they were, and yet no run would go on: both checksums, and what to do."""
    terminal.ok("migrate", "--all-tenants")
    terminal.write("migrations/app/001_users.sql", FIRST.replace("name TEXT", "name TEXT, age INT"))
    (warning,) = terminal.ok("validate", "--format", "json").json()["warnings"]
    assert "app/001" in warning and "was edited after it ran" in warning and "3 tenants" in warning
    assert f"warning: {warning}" in terminal.ok("validate").out
    assert terminal.run("migrate", "--all-tenants").code == 1


def test_baseline(terminal: Terminal) -> None:
    """Migrations that a database already has count as applied, and nothing runs."""
    terminal.write("migrations/app/002_age.sql", SECOND)
    for name in ("acme", "beta", "gamma"):
        sqlite_run(terminal.folder / f"data/{name}.db", "CREATE TABLE users (id, name)")
    assert "3 baselined" in terminal.ok("baseline", "--to", "001", "--all-tenants", "-y").out
    assert set(states(terminal).values()) == {"pending"}
    assert "3 migrated" in terminal.ok("migrate", "--all-tenants").out


def test_verify_finds_a_changed_event(terminal: Terminal) -> None:
    """The chain holds; after an edit behind the triggers' back the seq is named, exit 4."""
    terminal.ok("migrate", "--all-tenants")
    assert "the chain holds" in terminal.ok("verify").out
    database = terminal.folder / "ledger.db"
    triggers = sqlite_rows(database, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
    sqlite_run(
        database,
        *(f"DROP TRIGGER {name}" for (name,) in triggers),
        "UPDATE events SET at = at + 1 WHERE seq = 4",
    )
    ended = terminal.run("verify")
    assert ended.code == 4 and "seq 4" in ended.out


def test_verify_with_an_anchor(terminal: Terminal) -> None:
    """An end of the chain that was kept elsewhere is compared; another one is found out."""
    terminal.ok("migrate", "--all-tenants")
    head = terminal.ok("status", "--format", "json").json()["ledger"]
    terminal.ok("verify", "--anchor", f"{head['seq']} {head['hash']}", "--rebuild")
    assert terminal.run("verify", "--anchor", f"{head['seq']} {'0' * 64}").code == 4
    assert terminal.run("verify", "--anchor", "nonsense").code == 2


def test_unlock_and_resolve_say_what_they_found(terminal: Terminal) -> None:
    """Nothing is locked, nothing in doubt: no change, and no invented success."""
    terminal.ok("migrate", "--all-tenants")
    ended = terminal.ok("unlock", "--all-tenants", "--reason", "tidy", "-y")
    assert ended.out == "Nothing to do.\n"
    ended = terminal.run("resolve", "--tenant", "acme", "--applied")
    assert ended.code == 3 and "no step in doubt" in ended.out
    assert terminal.run("resolve", "--tenant", "acme").code == 2


def test_one_tenant_told_step_by_step(terminal: Terminal) -> None:
    """`migrate -v` of one tenant: connected, backup, steps with ✓ and ⊘, checks, where the backup is."""
    terminal.write("migrations/app/002_age.sql", SECOND)
    terminal.ok("migrate", "--to", "001", "--all-tenants")
    sqlite_run(terminal.folder / "data/acme.db", "ALTER TABLE users ADD COLUMN age INTEGER")
    told = terminal.ok("migrate", "--tenant", "acme", "-v").out
    assert "✓ Connected to acme: sqlite:///" in told and "✓ Created backup:" in told
    assert "  ⊘ Step 1: Add age column" in told and "  ✓ Step 2: Fill it" in told
    assert "✓ Recorded app 002" in told and "Backup saved at:" in told
    assert "acme: ✓ step" not in told


def test_every_row_in_every_format(terminal: Terminal) -> None:
    """Whatever prints rows prints them as a table, JSON, JSON Lines and CSV."""
    terminal.ok("migrate", "--all-tenants")
    for name in ("tenants", "status", "history", "runs", "backups", "plan", "validate", "lint"):
        for form in ("table", "json", "jsonl", "csv"):
            ended = terminal.ok(name, "--format", form, "-q")
            if form == "json":
                ended.json()
            elif form == "jsonl":
                ended.lines()
            elif form == "csv":
                assert "," in ended.out.splitlines()[0]
            assert ended.err == ""


def test_a_process_of_its_own(terminal: Terminal) -> None:
    """The same from a shell: exit codes, results on stdout, progress on stderr, no colours in a pipe."""
    ended = terminal.start("migrate", "--all-tenants")
    assert ended.code == 0 and "3 migrated" in ended.out and "acme: migrated" in ended.err
    assert "\x1b" not in ended.out + ended.err
    assert terminal.start("status", "--check").code == 0
    assert terminal.start("status", "--tenant", "nope").code == 2
