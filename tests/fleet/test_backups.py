"""`backups prune` and `backups verify`: old ones go, a sound one always stays, bad ones are named."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.backups.prune import prunable
from ledger.errors import UsageError
from ledger.runner.kept import KeptBackup
from tests.place import ENGINES, MakePlace, Place


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants with three backups each: three runs of one migration."""
    place = make_place(request.param)
    for number in (1, 2, 3):
        place.migration(f"00{number}_table.sql", f"CREATE TABLE t{number} (id INTEGER);")
        place.ok("migrate", "--all-tenants")
    return place


def listed(place: Place, tenant: str) -> list[dict[str, Any]]:
    """The tenant's backups, oldest first."""
    rows: list[dict[str, Any]] = place.ok(
        "backups", "list", "--tenant", tenant, "--format", "json"
    ).json()
    return rows


def test_prune_keeps_the_newest_and_records_the_rest(place: Place) -> None:
    """The files are gone, the list and restore do not know them any more, the events do."""
    first, second = place.names
    old = listed(place, first)
    assert place.ok("backups", "--tenant", first, "--format", "json").json() == old
    shown = place.ok("backups", "prune", "--keep", "1", "--tenant", first, "--dry-run")
    assert old[0]["path"] in shown.out and old[2]["path"] not in shown.out
    assert all(Path(one["path"]).exists() for one in old)

    told = place.ok("backups", "prune", "--keep", "1", "--all-tenants", "-y", "--reason", "disk")
    assert "2 pruned" in told.out
    assert [Path(one["path"]).exists() for one in old] == [False, False, True]
    assert [one["seq"] for one in listed(place, first)] == [old[2]["seq"]]
    events = place.events(first, "backup_pruned")
    assert [one["body"]["backup_seq"] for one in events] == [old[0]["seq"], old[1]["seq"]]
    assert events[0]["body"]["reason"] == "disk"
    assert place.ended("restore", "--tenant", first, "--backup", str(old[0]["seq"]), "-y").code == 2
    again = place.ok("backups", "prune", "--keep", "1", "--all-tenants", "-y")
    assert again.out.startswith("Nothing to do")
    place.ok("restore", "--tenant", second, "-y")
    place.ok("verify")


def test_the_newest_sound_backup_is_never_deleted(place: Place) -> None:
    """Neither by --keep 0, nor by age, nor when newer ones are damaged."""
    first, second = place.names
    ours, theirs = listed(place, first), listed(place, second)
    Path(ours[2]["path"]).write_bytes(b"damaged")
    place.ok("backups", "prune", "--keep", "0", "--all-tenants", "-y")
    assert [one["seq"] for one in listed(place, first)] == [ours[1]["seq"]]
    assert [one["seq"] for one in listed(place, second)] == [theirs[2]["seq"]]


def test_without_a_sound_backup_nothing_is_deleted(place: Place) -> None:
    """The tenant is named with the reason, and the others go on."""
    first, second = place.names
    for one in listed(place, first):
        Path(one["path"]).write_bytes(b"damaged")
    ended = place.ended("backups", "prune", "--keep", "1", "--all-tenants", "-y")
    assert ended.code == 3 and "none of its backups reads through" in ended.out
    assert len(listed(place, first)) == 3 and len(listed(place, second)) == 1


def test_prune_by_age(place: Place) -> None:
    """Nothing is older than a day; everything but the sound newest one is older than no time."""
    first = place.names[0]
    told = place.ok("backups", "prune", "--older-than", "1d", "--tenant", first, "-y")
    assert told.out.startswith("Nothing to do")
    place.ok("backups", "prune", "--older-than", "0s", "--tenant", first, "-y")
    assert len(listed(place, first)) == 1
    assert place.ended("backups", "prune", "--tenant", first, "-y").code == 2
    assert place.ended("backups", "prune", "--keep", "1", "--tenant", first).code == 2
    assert place.ended("backups", "--tenant", first, "verify").code == 2


def test_verify_names_the_bad_ones(place: Place) -> None:
    """A changed, a cut and a missing file are each named with the reason; the command ends with 4."""
    first = place.names[0]
    assert "6 backups, 0 bad" in place.ok("backups", "verify").out
    old = listed(place, first)
    changed, cut, missing = (Path(one["path"]) for one in old)
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 0xFF
    changed.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-7])
    missing.unlink()
    ended = place.ended("backups", "verify", "--all-tenants", "--format", "json")
    assert ended.code == 4
    problems = {row["seq"]: row["problem"] for row in ended.json()}
    assert "SHA-256" in problems[old[0]["seq"]] and "SHA-256" in problems[old[1]["seq"]]
    assert "not there" in problems[old[2]["seq"]]
    assert sum(bool(problem) for problem in problems.values()) == 3


def test_a_prune_that_was_killed_is_ended_by_the_next(place: Place) -> None:
    """Recorded and not yet deleted: nobody restores it, and the next prune deletes the file."""
    first = place.names[0]
    old = listed(place, first)
    ended = place.terminal.start(
        *("backups", "prune", "--keep", "1", "--tenant", first, "-y"),
        env={"LEDGER_FAILPOINT": "store.after_commit:2"},
    )
    assert ended.code == -signal.SIGKILL
    assert [one["seq"] for one in listed(place, first)] == [old[2]["seq"]]
    assert all(Path(one["path"]).exists() for one in old)
    place.ok("backups", "prune", "--keep", "1", "--tenant", first, "-y")
    assert [Path(one["path"]).exists() for one in old] == [False, False, True]


def test_nothing_outside_the_backup_folder_is_deleted(place: Place) -> None:
    """After `backups` was set to another folder, the old ones are left to a person."""
    first = place.names[0]
    old = listed(place, first)
    config = place.folder / "ledger.toml"
    config.write_text('backups = "elsewhere"\n' + config.read_text())
    ended = place.ended("backups", "prune", "--keep", "1", "--tenant", first, "-y")
    assert ended.code == 3 and "not in the backup folder" in ended.out
    assert all(Path(one["path"]).exists() for one in old)


async def test_from_python(place: Place) -> None:
    """Plan, prune and verify as values."""
    first = place.names[0]
    soon = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    (plan,) = await place.open().plan_prune(first, keep=2, before=soon)
    assert len(plan.delete) == 1 and plan.kept is not None
    assert (await place.open().prune_backups(first, keep=2)).summary == {"pruned": 1}
    checks = await place.open().verify_backups(first)
    assert [one.sound for one in checks] == [True, True]
    with pytest.raises(UsageError):
        await place.open().plan_prune(first)


def test_both_limits_hold() -> None:
    """With a number and a time a backup must be beyond both to go."""

    def kept(seq: int) -> KeptBackup:
        return KeptBackup(seq=seq, at=f"2026-01-0{seq}", tenant="t", run="", backup=None)  # type: ignore[arg-type]

    all_of_them = [kept(seq) for seq in (1, 2, 3, 4)]
    chosen = prunable(all_of_them, keep=1, before="2026-01-03", protected=0)
    assert [one.seq for one in chosen] == [1, 2]
    assert [one.seq for one in prunable(all_of_them, keep=3, before=None, protected=1)] == []
