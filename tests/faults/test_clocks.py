"""Wrong clocks and suspended machines, as a process of its own sees them (clocks.c)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.test_zombies import ALL, DAY, VERSIONS, expected, let_go, stopped_at
from tests.faults.world import FIRST, SqliteWorld, World
from tests.programs import wait_for

SLOW = """\
-- step: Takes its time
CREATE TABLE slow AS
WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 4000000)
SELECT max(x) AS x FROM n;
-- migrate:down
DROP TABLE slow;
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clocks.c, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.fail("the tests of clocks need a C compiler: apt-get install gcc", pytrace=False)
    made = tmp_path_factory.mktemp("clocks") / "clocks.so"
    source = Path(__file__).with_name("clocks.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source], check=True)
    return made


class Clocked:
    """`ledger migrate --all-tenants` in a process whose clocks are those that `set` says."""

    def __init__(self, world: World, library: Path, ahead: float, *, wall: bool) -> None:
        self._file = world.root / "clocks"
        self._said = world.root / "said"
        self.set(ahead)
        environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCKS_FILE": str(self._file)}
        if wall:
            environment["CLOCKS_WALL"] = "1"
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ledger", *ALL],
                cwd=world.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        world.at_end.callback(self._end)

    def set(self, ahead: float) -> None:
        """In one go, for a reader at any moment."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(str(int(ahead)))
        partial.rename(self._file)

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self._said.read_text()


@pytest.mark.fault(12)
def test_a_process_a_day_ahead_takes_over_but_never_twice(
    library: Path, make_world: MakeWorld
) -> None:
    """To it every lease is over; the living holder is fenced in the tenants themselves."""
    world = make_world("sqlite", head="parallel = 1\n")
    holder = stopped_at(world, "runner.after_claim")
    ahead = Clocked(world, library, DAY, wall=True)
    assert ahead.process.wait(60) == 0, ahead.said
    assert "its lease ran out" in ahead.said
    let_go(holder)
    world.check(expected("sqlite", make_world), VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(12)
def test_a_process_a_day_behind_waits_and_goes_on(library: Path, make_world: MakeWorld) -> None:
    """To it every lease is far from over; a holder that is gone from this host is not waited for."""
    world = make_world("sqlite", head="parallel = 1\n")
    holder = stopped_at(world, "runner.after_claim")
    behind = Clocked(world, library, -DAY, wall=True)
    wait_for(lambda: "waiting for" in behind.said, "it to wait")
    holder.send(signal.SIGKILL)
    assert behind.process.wait(60) == 0, behind.said
    world.check(expected("sqlite", make_world), VERSIONS)
    world.check_nothing_to_do()


@pytest.mark.fault(13)
def test_a_process_that_was_suspended_makes_no_new_claim(
    library: Path, make_world: MakeWorld
) -> None:
    """Frozen in its first tenant's migration, it wakes an hour later and leaves the second one alone."""
    migrations = {"001_notes.sql": FIRST, "002_slow.sql": SLOW}
    world = make_world("sqlite", head="parallel = 1\n", migrations=migrations)
    assert isinstance(world, SqliteWorld)
    world.ok("migrate", "--all-tenants", "--to", "001")
    seq = world.ok("status", "--format", "json").json()["ledger"]["seq"]
    sleeper = Clocked(world, library, 0, wall=False)
    claims = f"SELECT count(*) FROM event_log WHERE seq > {seq} AND type = 'started'"
    wait_for(lambda: world.ledger_sql(claims) == [(1,)], "its first claim")
    sleeper.process.send_signal(signal.SIGSTOP)
    sleeper.set(3600)
    sleeper.process.send_signal(signal.SIGCONT)
    assert sleeper.process.wait(60) == 3, sleeper.said
    assert "lease ran out" in sleeper.said
    assert world.ledger_sql(claims) == [(1,)]
    world.ok(*ALL)
    world.check(None, ["001", "002"])
