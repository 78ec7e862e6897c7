"""The campaign: random kills, stops, cuts and server restarts over 50 tenants, until time or kills are up.

    python -m tests.faults --seed N --minutes M [--kills K]

Each round disturbs one command at a random moment, types the same command once more,
and checks everything: what the tenants hold (by a model of its own), each step once,
nothing locked, no half-written backup, the chain. All decisions come from the seed, in
the order in which they are printed, so that the same seed decides the same again; where
in its work a process is when it is hit depends on the machine.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Final, Literal

import msgspec

from ledger.failpoints import POINTS
from tests.faults.commands import Ended, Running
from tests.faults.fleet50 import TENANTS, VERSIONS, Fleet, Held
from tests.faults.proxy import Proxy
from tests.faults.world import StepsOnce
from tests.mariadbd import PrivateMariadb
from tests.servers import as_server

Command = Literal["migrate", "rollback", "restore"]
Fault = Literal["kill", "failpoint", "rivals", "stop", "cut", "server"]
FAULTS: Final[dict[Fault, int]] = {
    "kill": 40,
    "failpoint": 40,
    "rivals": 12,
    "stop": 2,
    "cut": 4,
    "server": 2,
}
"""What happens, and how often in a hundred rounds."""

OF_RESTORE: Final = tuple(
    point for point in POINTS if point.partition(".")[0] in ("store", "runner", "restore")
)
OF_STEPS: Final = tuple(point for point in POINTS if not point.startswith("restore."))
LOCKED: Final = "locked"
TENANTS_AT_ONCE: Final = 8
CHECK_CHAIN_EVERY: Final = 25


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One round: everything that is left to chance in it."""

    command: Command
    goal: int
    tenants: tuple[str, ...]
    backup: bool
    fault: Fault
    after_seconds: float
    point: str
    count: int
    elsewhere: bool
    order: float


def decide(chance: random.Random) -> Decision:
    """Always the same number of draws, whatever came before."""
    commands: tuple[Command, ...] = ("migrate", "rollback", "restore")
    command = chance.choices(commands, (50, 40, 10))[0]
    return Decision(
        command=command,
        goal=chance.randint(2, 3) if command == "migrate" else chance.randint(1, 2),
        tenants=tuple(sorted(chance.sample(TENANTS, TENANTS_AT_ONCE))),
        backup=chance.random() < 0.4,
        fault=chance.choices(list(FAULTS), list(FAULTS.values()))[0],
        after_seconds=chance.uniform(0.02, 0.35),
        point=chance.choice(OF_RESTORE if command == "restore" else OF_STEPS),
        count=chance.choice((1, 1, 1, 2, 3, 5, 8)),
        elsewhere=chance.random() < 0.3,
        order=chance.random(),
    )


class Campaign:
    """A fleet, what its tenants must hold, and what has been done to it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        template = root / "template"
        PrivateMariadb.initialise(template)
        self.mariadb = PrivateMariadb.create(root / "server", template)
        self._start_server()
        self.proxy = Proxy(self.mariadb.port)
        ledger = self.chance.choice(("sqlite", "mariadb"))
        print(f"the ledger is kept in {ledger}", flush=True)
        server = as_server(self.mariadb)
        self.fleet = Fleet(root / "fleet", server, port=self.proxy.port, ledger=ledger)
        self.fleet.ok("migrate", "--all-tenants", "--to", VERSIONS[0])
        self.held = dict.fromkeys(TENANTS, Held().brought_to(1))
        self.backups: dict[str, list[tuple[int, Held]]] = {name: [] for name in TENANTS}
        self.steps = StepsOnce()
        self.done: Counter[str] = Counter()
        self.rounds = 0

    def _start_server(self) -> None:
        self.mariadb.start("--innodb-flush-log-at-trx-commit=1", "--max-connections=500")

    def close(self) -> None:
        """Stop what was started."""
        self.proxy.close()
        self.mariadb.remove()

    def round(self) -> None:
        """Disturb one command, type it again, and check."""
        decision = decide(self.chance)
        self.rounds += 1
        tenants = decision.tenants[:1] if decision.command == "restore" else decision.tenants
        arguments, goals = self._command(decision, tenants)
        text = f"{decision.fault} {' '.join(arguments[2:4])}"
        if decision.fault == "failpoint":
            text += f" at {decision.point}:{decision.count}"
        elif decision.fault != "server":
            text += f" after {decision.after_seconds:.2f} s"
        print(f"{self.rounds:5} {text} on {','.join(tenants)}", flush=True)
        began = self._last_event_at()
        self._disturb(decision, arguments)
        ended = self.fleet.run(*arguments)
        self.done["converged"] += ended.code == 0
        require(ended.code == 0, "the re-run", ended)
        self._check(tenants, goals, began)
        self._remember(tenants, goals, began)

    def _command(
        self, decision: Decision, tenants: tuple[str, ...]
    ) -> tuple[list[str], dict[str, Held]]:
        """The command line, and what each tenant holds after it."""
        config = "backup.toml" if decision.backup else "ledger.toml"
        named = [word for name in tenants for word in ("--tenant", name)]
        if decision.command == "restore" and self.backups[tenants[0]]:
            kept = self.backups[tenants[0]]
            seq, held = kept[int(decision.order * len(kept))]
            return (
                ["--config", config, "restore", "--backup", str(seq), *named, "-y"],
                {tenants[0]: held},
            )
        if decision.command == "rollback":
            # Rolling back needs that the goal is applied: those below it are brought up first.
            below = [name for name in tenants if self.held[name].version < decision.goal]
            if below:
                words = [word for name in below for word in ("--tenant", name)]
                to = VERSIONS[decision.goal - 1]
                up = self.fleet.run("migrate", "--to", to, *words)
                require(up.code == 0, "bringing up", up)
                for name in below:
                    self.held[name] = self.held[name].brought_to(decision.goal)
            to = VERSIONS[decision.goal - 1]
            return (
                ["--config", config, "rollback", "--to", to, *named, "-y"],
                {name: self.held[name].brought_to(decision.goal) for name in tenants},
            )
        goal = max(decision.goal, 2)
        return (
            ["--config", config, "migrate", "--to", VERSIONS[goal - 1], *named],
            {
                name: self.held[name].brought_to(max(goal, self.held[name].version))
                for name in tenants
            },
        )

    def _disturb(self, decision: Decision, arguments: list[str]) -> None:
        fleet, fault = self.fleet, decision.fault
        host = "elsewhere" if decision.elsewhere else ""
        if fault == "failpoint":
            point = f"{decision.point}:{decision.count}"
            self._count(fleet.run(*arguments, failpoint=point))
            return
        first = fleet.start(*arguments, host=host if fault == "rivals" else "")
        rival = None
        if fault == "rivals":
            rival = fleet.start(*arguments)
        self._sleep(decision.after_seconds, first)
        if fault in ("kill", "rivals"):
            first.send(signal.SIGKILL)
        elif fault == "stop":
            first.send(signal.SIGSTOP)
            # By another host's word nobody knows that it is not running: its lease has to end.
            ended = fleet.run(*arguments, host="elsewhere")
            if LOCKED in ended.err + ended.out or ended.code != 0:
                # Stopped inside a transaction of a SQLite file: nobody can write to that file.
                require(LOCKED in ended.err + ended.out, "the run that took over", ended)
                self.done["stopped inside a transaction"] += 1
            first.send(signal.SIGCONT)
            self.done["stops"] += 1
        elif fault == "cut":
            self.proxy.cut()
            self.done["cuts"] += 1
        else:
            self.mariadb.kill()
            self._start_server()
            self.done["server kills"] += 1
        self._count(first.wait(120))
        if rival is not None:
            ended = rival.wait(120)
            require(ended.code == 0, "the rival", ended)
            self.done["rivals"] += 1

    def _sleep(self, seconds: float, running: Running) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not running.over:
            time.sleep(0.002)

    def _count(self, ended: Ended) -> None:
        if ended.killed:
            self.done["kills"] += 1
        else:
            require("Traceback" not in ended.err, "a traceback", ended)
            require("unexpected" not in ended.err, "a defect", ended)
            self.done["undisturbed" if ended.code == 0 else "failed and said so"] += 1

    def _last_event_at(self) -> str:
        events = self.fleet.history("--limit", "1")
        return str(events[-1]["at"]) if events else "2000-01-01T00:00:00Z"

    def _check(self, tenants: tuple[str, ...], goals: dict[str, Held], began: str) -> None:
        found = self.fleet.found(tenants)
        for name in tenants:
            require(found[name] == goals[name].rows(), f"what {name} holds", found[name], goals)
        self.steps.feed(self.fleet.history("--since", began))
        named = [word for name in tenants for word in ("--tenant", name)]
        for row in self.fleet.ok("status", "--format", "json", *named).json()["tenants"]:
            version = goals[row["tenant"]].version
            require(row["lock"] is None, "a lock", row)
            require(row["applied"] == list(VERSIONS[:version]), "the applied set", row)
            require(row["state"] in ("current", "pending", "new"), "the state", row)
        if self.rounds % CHECK_CHAIN_EVERY == 0:
            self.fleet.rebuild_tables()
            ended = self.fleet.run("verify")
            require(ended.code == 0, "verify", ended)
            with_scratch = [name for name in self._databases() if "scratch" in name]
            require(with_scratch == [], "scratch databases left", with_scratch)

    def _databases(self) -> list[str]:
        from tests.servers import query

        return [str(row[0]) for row in query(self.fleet.server, "SHOW DATABASES")]

    def _remember(self, tenants: tuple[str, ...], goals: dict[str, Held], began: str) -> None:
        """What the backups of this round hold: the way from before to after, by the applied set."""
        for event in self.fleet.history("--since", began, "--type", "backup_created"):
            name = event["tenant"]
            version = len(event["body"].get("applied", ()))
            if name in goals:
                self.backups[name].append((event["seq"], self.held[name].brought_to(version)))
        self.held.update(goals)


def require(holds: bool, what: str, *seen: object) -> None:
    """Raises AssertionError that says what does not hold, and what was seen."""
    if not holds:
        raise AssertionError(f"{what}: " + "\n".join(map(str, seen)))


def main() -> int:
    """Run the campaign; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kills", type=int, default=10**9)
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="ledger-campaign-"))
    campaign = Campaign(root, seed)
    until = time.monotonic() + given.minutes * 60
    try:
        while time.monotonic() < until and campaign.done["kills"] < given.kills:
            campaign.round()
        ended = campaign.fleet.run("verify")
        require(ended.code == 0, "verify", ended)
    except Exception:
        traceback.print_exc()
        print(f"seed {seed}: failed in round {campaign.rounds}; kept: {root}")
        campaign.proxy.close()
        campaign.mariadb.stop()
        return 1
    finally:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(campaign.done.items()))
        print(f"seed {seed}: {campaign.rounds} rounds, {counts}", flush=True)
    campaign.close()
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
