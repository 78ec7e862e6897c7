"""The campaign: random kills, stops, cuts and server restarts over fleets of 50 tenants of both engines.

    python -m tests.faults [--seed N] [--kills K] [--minutes M] [--ledger sqlite|mariadb] [--break GUARD]

It ends when K kills were each followed by one plain re-run that left everything right, or
when time is up. One fleet keeps its ledger in SQLite and one in MariaDB; both work at the
same time, each on a server of its own, each with its own chance from the seed.

With `--break` the commands run without one of their guards (broken.py), to see the campaign
find what the guard prevents: `python -m tests.faults --seed 5 --break settle` fails.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Final

from tests.faults.broken import GUARDS
from tests.faults.campaign import Lane
from tests.mariadbd import PrivateMariadb

LEDGERS: Final = ("sqlite", "mariadb")
SINGLE: Final = "kills with one re-run each"
MINUTES: Final = 5.0
BREAKS: Final = tuple(guard for guard in GUARDS if guard != "locked")
"""That one is for servers that have no GET_LOCK; these have it."""


class Campaign:
    """Lanes that go on, each in a thread, until enough was killed, time is up, or one has failed."""

    def __init__(self, lanes: list[Lane], *, kills: int, minutes: float) -> None:
        self.lanes = lanes
        self.failed: list[str] = []
        self._kills = kills
        self._until = time.monotonic() + minutes * 60

    @property
    def goes_on(self) -> bool:
        return (
            not self.failed and time.monotonic() < self._until and self.done[SINGLE] < self._kills
        )

    @property
    def done(self) -> Counter[str]:
        """What all lanes have done so far."""
        return sum((Counter(lane.done) for lane in self.lanes), Counter())

    def go(self) -> None:
        """All of it; `failed` says in the end what did not hold."""
        threads = [threading.Thread(target=self._rounds, args=(lane,)) for lane in self.lanes]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self._until = 0.0  # Ctrl-C: each lane ends its round.
            for thread in threads:
                thread.join()

    def _rounds(self, lane: Lane) -> None:
        try:
            while self.goes_on:
                lane.round()
            lane.verify()
        except Exception:
            traceback.print_exc()
            self.failed.append(f"the lane with its ledger in {lane.ledger}, round {lane.rounds}")


def main() -> int:
    """Run the campaign; 0 if everything held, and as many kills as were asked for were seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kills", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--ledger", choices=LEDGERS, action="append", default=None)
    parser.add_argument("--break", dest="broken", choices=BREAKS, default="")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    minutes = given.minutes or (MINUTES if given.kills is None else 24 * 60.0)
    print(f"seed {seed}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="ledger-campaign-"))
    PrivateMariadb.initialise(root / "template")
    lanes: list[Lane] = []
    try:
        for ledger in given.ledger or LEDGERS:
            folder = root / ledger
            lanes.append(
                Lane(folder, root / "template", seed=seed, ledger=ledger, broken=given.broken)
            )
        campaign = Campaign(lanes, kills=given.kills or sys.maxsize, minutes=minutes)
        began = time.monotonic()
        campaign.go()
    finally:
        for lane in lanes:
            lane.close()
    for lane in lanes:
        print(f"ledger in {lane.ledger}: {_shown(lane.rounds, lane.done)}")
    rounds = sum(lane.rounds for lane in lanes)
    done = campaign.done
    elapsed = (time.monotonic() - began) / 60
    print(f"seed {seed}, {elapsed:.1f} minutes: {_shown(rounds, done)}", flush=True)
    if campaign.failed:
        print(f"seed {seed}: failed in {' and '.join(campaign.failed)}; kept: {root}")
        return 1
    shutil.rmtree(root)
    if given.kills is not None and done[SINGLE] < given.kills:
        print(f"seed {seed}: time was up before {given.kills} kills")
        return 1
    return 0


def _shown(rounds: int, done: Counter[str]) -> str:
    counts = ", ".join(f"{count} {what}" for what, count in sorted(done.items()))
    return f"{rounds} rounds, {counts}"


if __name__ == "__main__":
    sys.exit(main())
