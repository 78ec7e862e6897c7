"""SIGINT and SIGTERM before a run begins and after it has ended: a word, a code, and the command to go on."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import World
from tests.programs import Ended, Program, wait_for
from tests.servers import ROOT

ALL = ("migrate", "--all-tenants")
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
BOUND_SECONDS = 20.0
SLOW_SOURCE = """
[[tenants]]
mysql = "mysql://root@127.0.0.1:1"
databases = "t%"
password_command = ["sh", "-c", "touch asked; exec sleep 300"]
"""
EARLY = """\
import os, sys
class Signal:
    def find_spec(self, name, path, target=None):
        if name == "ledger.config.load":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), %d)
sys.meta_path.insert(0, Signal())
from ledger.cli import main
main()
"""


def _stands(running: Program) -> bool:
    return running.over or running.stopped


def nothing_begun(ended: Ended, number: signal.Signals, command: str) -> None:
    """It says so, in one message, with the command as it was typed."""
    assert ended.code == 1, ended
    assert f"stopped by {number.name}; no run was begun" in ended.err
    assert f"To continue: ledger {command}" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.fault("SIGINT")
@BOTH
def test_while_tenants_are_looked_for(number: signal.Signals, make_world: MakeWorld) -> None:
    """A source that does not answer is not waited for any longer, and no tenant is touched."""
    world = make_world("sqlite")
    config = world.root / "ledger.toml"
    before = config.read_text()
    config.write_text(before + SLOW_SOURCE)
    running = world.start(*ALL)
    wait_for((world.root / "asked").exists, "the source to be asked")
    running.send(number)
    nothing_begun(running.wait(BOUND_SECONDS), number, "migrate --all-tenants")
    config.write_text(before)
    assert world.state() == {"a": {}, "b": {}}
    world.ok(*ALL)


@pytest.mark.fault("SIGINT")
@BOTH
def test_before_there_is_an_event_loop(number: signal.Signals, make_world: MakeWorld) -> None:
    """While its own modules are imported, too."""
    world = make_world("sqlite")
    done = subprocess.run(
        [sys.executable, "-c", EARLY % number, *ALL],
        cwd=world.root,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    ended = Ended(done.returncode, done.stdout, done.stderr)
    nothing_begun(ended, number, "migrate --all-tenants")
    assert world.state() == {"a": {}, "b": {}}


@pytest.mark.fault("SIGINT")
@BOTH
def test_at_every_commit_of_a_run(number: signal.Signals, make_world: MakeWorld) -> None:
    """From its first event to its last: the summary is printed, and the command to go on if it is needed."""
    codes = []
    for turn in range(1, 20):
        world = make_world("sqlite", tenants=("a", "b"), head="parallel = 1\n")
        running = world.start(*ALL, failpoint=f"store.after_commit:{turn}", stops=True)
        wait_for(partial(_stands, running), "it to stop there")
        if running.over:
            break
        running.send(number)
        running.send(signal.SIGCONT)
        ended = running.wait(BOUND_SECONDS)
        assert " tenants in " in ended.out or "no run was begun" in ended.err, ended
        assert ended.code == 0 or "To continue: ledger migrate" in ended.out + ended.err, ended
        assert "Traceback" not in ended.err
        codes.append(ended.code)
        world.ok(*ALL)
        world.check(None, ["001", "002", "003"])
    assert set(codes) <= {0, 1, 3}
    assert codes[-1] == 0, "a run that was over has done it all"


@pytest.mark.fault("SIGINT")
@BOTH
def test_while_somebody_is_asked(number: signal.Signals, make_world: MakeWorld) -> None:
    """At a question one signal is enough, and it is a no."""
    world: World = make_world("sqlite")
    world.ok(*ALL)
    ours, theirs = pty.openpty()
    process = None
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger", "rollback", "--all-tenants"],
            cwd=world.root,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        said = b""
        while b"?" not in said:
            said += os.read(ours, 1000)
        # A signal just before the read is heard only at the next key: wait until it sleeps there.
        stat = Path(f"/proc/{process.pid}/stat")
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", "it to wait")
        process.send_signal(number)
        assert process.wait(BOUND_SECONDS) == 1
        assert b"stopped" in os.read(ours, 1000)
    finally:
        os.close(ours)
        os.close(theirs)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
    world.check(None, ["001", "002", "003"])
