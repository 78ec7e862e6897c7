"""`ledger history` and `export --events`: what is chosen, what follows, and how it is printed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from ledger import ReadHistory, UsageError
from tests.cli.terminal import Terminal
from tests.cli.test_on_a_terminal import Screen
from tests.fleet.world import TAGS, Fleet
from tests.place import ENGINES, MakePlace, Place


@pytest.fixture
def place(request: pytest.FixtureRequest, make_audited: MakePlace) -> Place:
    """Two tenants after two migrations, the second of which failed at its second step on one."""
    made = make_audited(request.param)
    made.migration("001_m.sql", "CREATE TABLE notes (id INTEGER PRIMARY KEY);\n")
    made.ok("migrate", "--all-tenants", "--no-backup")
    made.migration("002_m.sql", "INSERT INTO notes VALUES (7);\nINSERT INTO more VALUES (1);\n")
    made.run(made.names[0], "CREATE TABLE more (id INTEGER PRIMARY KEY)")
    assert made.ended("migrate", "--all-tenants", "--no-backup").code == 3
    return made


@pytest.mark.parametrize("place", ENGINES, indirect=True)
def test_what_is_chosen(place: Place) -> None:
    """Several types, a step, a text in what went wrong; what no event can have is refused."""

    def kinds(*arguments: str) -> list[tuple[str, int | None]]:
        lines = place.ok("history", "--format", "jsonl", *arguments).lines()
        return [(one["type"], one["body"].get("step")) for one in lines]

    every = kinds()
    both = kinds("--type", "completed", "--type", "failed")
    assert both == [one for one in every if one[0] in ("completed", "failed")]
    assert {one[0] for one in both} == {"completed", "failed"}
    second = kinds("--step", "2")
    assert ("failed", 2) in second and ("step_applied", 2) in second
    assert second == [one for one in every if one[1] == 2 and one[0] in {two[0] for two in second}]
    assert kinds("--step", "2", "--type", "failed") == [("failed", 2)]
    assert kinds("--error", "MORE") == [("failed", 2)] and kinds("--error", "step_failed") != []
    assert kinds("--error", "no such words") == []
    assert kinds("--step", "1", "--limit", "1") == [one for one in every if one[1] == 1][-1:]
    assert kinds("--after", str(len(every) - 2)) == every[-2:]
    assert kinds("--after", str(len(every))) == []
    for wrong in (
        ("--after", str(len(every) + 1)), ("--type", "completed", "--step", "1"),
        ("--type", "nonsense"), ("--follow", "--until", "1d"), ("--follow", "--format", "json"),
        ("--all", "--limit", "3"),
    ):  # fmt: skip
        assert place.ended("history", *wrong).code == 2, wrong
    events = place.ok("export", "--events", "--after", str(len(every) - 3)).lines()
    assert [one["seq"] for one in events] == [len(every) - 2, len(every) - 1, len(every)]
    assert place.ended("export", "--head", "--follow").code == 2


async def test_the_newest_of_many_pages(tmp_path: Path) -> None:
    """With a condition that no query has, they are read backwards, and none is left out."""
    fleet = Fleet(tmp_path, tenants=3)
    fleet.write("002_tags.sql", TAGS)
    ledger = fleet.open()
    for _ in range(4):
        await ledger.migrate()
        await ledger.rollback("*", to="001")
    every = [row.seq async for row in ledger.history(migration="002")]
    for limit in (1, 5, len(every) - 1, len(every), len(every) + 9):
        newest = [row.seq async for row in ledger.history(migration="002", limit=limit)]
        assert newest == every[-limit:], limit
    after = [row.seq async for row in ledger.history(migration="002", after=every[-3], limit=9)]
    assert after == every[-2:]
    types = [row.type async for row in ledger.run(ReadHistory(type=("started", "failed")))]
    assert set(types) == {"started"}
    with pytest.raises(UsageError):
        _ = [row async for row in ledger.history(type=["started", "nothing"])]


async def test_an_event_just_before_a_page_is_found(tmp_path: Path) -> None:
    """Pages read backwards leave nothing out between them, whatever number is asked for."""
    fleet = Fleet(tmp_path, tenants=1)
    fleet.write("002_two.sql", "CREATE TABLE one (x);\nCREATE TABLE two (x);\n")
    ledger = fleet.open()
    await ledger.migrate()
    every = [row.seq async for row in ledger.history("t0", type=["step_applied", "step_started"])]
    first = [row.seq async for row in ledger.history("t0", step=1)]
    assert len(first) >= 2 and every[-2] == first[-1], "the last step of all is a second one"
    for limit in range(1, len(first) + 1):
        found = [row.seq async for row in ledger.history("t0", step=1, limit=limit)]
        assert found == first[-limit:]


async def test_what_follows_comes_once_and_whole(tmp_path: Path) -> None:
    """From any seq on, while others append; as one reading afterwards has it."""
    fleet = Fleet(tmp_path, tenants=2)
    await fleet.open().migrate()
    fleet.write("002_tags.sql", TAGS)
    seen: list[int] = []

    async def read() -> None:
        async for row in fleet.open().history(after=3, follow=True):
            seen.append(row.seq)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await fleet.open().migrate()
        await fleet.open().rollback("*", to="001")
        last = (await fleet.open().head()).seq
        with anyio.fail_after(60):
            while not seen or seen[-1] < last:
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    assert seen == list(range(4, last + 1))


def follow(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own, its output a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "ledger", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Exit 0, every line whole, nothing on stderr; new events were there before."""
    fleet = Fleet(tmp_path, tenants=1)
    anyio.run(fleet.open().migrate)
    with follow(tmp_path, "export", "--events", "--after", "1", "--follow") as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["seq"] == 2
        fleet.write("002_tags.sql", TAGS)
        anyio.run(fleet.open().migrate)
        head = anyio.run(fleet.open().head).seq
        for seq in range(3, head + 1):
            assert json.loads(process.stdout.readline())["seq"] == seq
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stdout.read() == b"" and process.stderr.read() == b""


def test_a_reader_that_goes_away_ends_it(tmp_path: Path) -> None:
    """Also while nothing comes: without a word, as any program whose pipe is closed."""
    fleet = Fleet(tmp_path, tenants=1)
    anyio.run(fleet.open().migrate)
    with follow(tmp_path, "history", "--follow", "--format", "jsonl") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b'{"seq":1,')
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == b""


def test_a_terminal_shows_the_newest_and_says_so(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred of how many, in local time with its offset; all on demand; elsewhere all, in UTC."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    terminal.ok("demo", "shop", "--tenants", "6", "-q")
    folder = terminal.folder / "shop"
    config = ("--config", str(folder / "ledger.toml"))
    lines = terminal.ok("history", *config).out.splitlines()
    total = len(lines) - 1
    assert re.search(r" 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ ", lines[1])
    assert "Run" in lines[0] and "Actor" in lines[0] and total > 100

    def shown(*arguments: str) -> list[str]:
        lines = Screen(folder, 200, "history", *arguments).end().lines
        return [one for one in lines if re.match(r" *\d+  |Newest", one)]

    newest = shown()
    assert len(newest) == 101 and newest[-1] == f"Newest 100 of {total:,}; --all for all."
    assert "+05:45" in newest[0] and f" {total}  " in f" {newest[-2].strip()}  "
    assert len(shown("--all")) == total and len(shown("--limit", "3")) == 3
    assert len(shown("--type", "completed")) == 12
