"""One lane of the campaign: a fleet, a ledger, a server, and one disturbed command after the other.

A round disturbs one command at a random moment, types the same command once more, and
checks everything: what the tenants hold (by a model of its own), each step once, nothing
locked, no half-written backup, the chain. What is left to chance comes from the lane's
seed, in the order in which it is printed, so that the same seed decides the same again;
where in its work a process is when it is hit depends on the machine.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ledger.failpoints import POINTS
from tests.faults.fleet50 import SQLITE, TENANTS, VERSIONS, Fleet, Held
from tests.faults.proxy import Proxy
from tests.faults.world import StepsOnce
from tests.mariadbd import PrivateMariadb
from tests.programs import Ended, Program
from tests.servers import as_server, query

Command = Literal["migrate", "rollback", "restore"]
Fault = Literal["kill", "failpoint", "twice", "rivals", "stop", "cut", "server"]
FAULTS: Final[dict[Fault, int]] = {
    "kill": 40,
    "failpoint": 40,
    "twice": 6,
    "rivals": 7,
    "stop": 2,
    "cut": 3,
    "server": 2,
}
"""What happens, and how often in a hundred rounds. `twice`: the re-run is killed as well."""

HELD_UP: Final = ("locked", "Lock wait timeout", "lease ran out")
"""What a run says that another one, which was stopped inside a transaction, has held up."""
TENANTS_AT_ONCE: Final = 8
CHECK_CHAIN_EVERY: Final = 25
NEW_SITE_EVERY: Final = 40
ON_SERVERS_ONLY: Final = ("engine.after_intent", "engine.after_statement")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One round: everything that is left to chance in it."""

    command: Command
    goal: int
    ranks: tuple[float, ...]
    backup: bool
    fault: Fault
    moment: float
    again: float
    point: float
    count: int
    elsewhere: bool
    which: float


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A command line, the tenants it is for, and what each must hold after it."""

    command: Command
    arguments: tuple[str, ...]
    goals: dict[str, Held]

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(self.goals)


def decide(chance: random.Random) -> Decision:
    """Always the same number of draws, whatever came before."""
    commands: tuple[Command, ...] = ("migrate", "rollback", "restore")
    command = chance.choices(commands, (50, 42, 8))[0]
    return Decision(
        command=command,
        goal=chance.randint(2, 3) if command == "migrate" else chance.randint(1, 2),
        ranks=tuple(chance.random() for _ in TENANTS),
        backup=chance.random() < 0.4,
        fault=chance.choices(list(FAULTS), list(FAULTS.values()))[0],
        moment=chance.random(),
        again=chance.random(),
        point=chance.random(),
        count=chance.choice((1, 1, 1, 2, 3, 5)),
        elsewhere=chance.random() < 0.3,
        which=chance.random(),
    )


class Lane:
    """A fleet, what its tenants must hold, and what has been done to it."""

    def __init__(self, root: Path, template: Path, *, seed: int, ledger: str, broken: str) -> None:
        self.ledger = ledger
        self.chance = random.Random(f"{seed} {ledger}")
        self.mariadb = PrivateMariadb.create(root / "server", template)
        self._start_server()
        self.proxy = Proxy(self.mariadb.port)
        server = as_server(self.mariadb)
        self.fleet = Fleet(root / "fleet", server, port=self.proxy.port, ledger=ledger)
        self.fleet.ok("migrate", "--all-tenants", "--to", VERSIONS[0])
        self.held = dict.fromkeys(TENANTS, Held().brought_to(1))
        self.backups: dict[str, list[tuple[int, Held]]] = {name: [] for name in TENANTS}
        self.steps = StepsOnce()
        self.done: Counter[str] = Counter()
        self.rounds = 0
        self._broken = broken
        self._seconds = 0.3
        self._last: tuple[int, str] = (0, "2000-01-01T00:00:00Z")
        self._take_new_events()

    def _start_server(self) -> None:
        # What a killed process wrote stays written: nobody cuts this machine's power.
        # A MariaDB that is killed in an instant ALTER may lose the table by itself (MDEV-37467).
        self.mariadb.start(
            "--innodb-flush-log-at-trx-commit=2",
            "--max-connections=500",
            "--innodb-instant-alter-column-allowed=never",
        )

    def close(self) -> None:
        """End what was started; the folders stay."""
        self.proxy.close()
        self.mariadb.kill()
        self.mariadb.socket.unlink(missing_ok=True)

    def round(self) -> None:
        """Disturb one command, type it again, and check."""
        decision = decide(self.chance)
        self.rounds += 1
        order = self._order(decision)
        killed = self._disturb(decision, order)
        ended = self._run(order)
        require(ended.code == 0, "the re-run", ended)
        self._check(order)
        self.done["rounds converged with one re-run"] += 1
        if killed:
            self.done["kills with one re-run each"] += 1

    def verify(self) -> None:
        """The ledger's chain and its stored projections."""
        ended = self.fleet.run("verify")
        require(ended.code == 0, "verify", ended)

    def _order(self, decision: Decision) -> Order:
        """The command line. Its tenants are chosen among those for which there is something to do."""
        config = "backup.toml" if decision.backup else "ledger.toml"
        ranked = sorted(TENANTS, key=dict(zip(TENANTS, decision.ranks, strict=True)).__getitem__)
        if decision.command == "restore":
            with_backups = [name for name in ranked if self.backups[name]]
            if with_backups:
                name, kept = with_backups[0], self.backups[with_backups[0]]
                seq, held = kept[int(decision.which * len(kept))]
                words = ["restore", "--backup", str(seq), "--tenant", name, "-y"]
                return Order(
                    command="restore",
                    arguments=("--config", config, *words),
                    goals={name: held},
                )
        up = decision.command != "rollback"
        goal = decision.goal if decision.command == "migrate" or not up else decision.goal + 1
        chosen = self._with_work(ranked, goal, up=up)
        if len(chosen) < TENANTS_AT_ONCE // 2:
            up, goal = not up, goal - 1 if up else goal + 1
            chosen = self._with_work(ranked, goal, up=up)
        command: Command = "migrate" if up else "rollback"
        words = [command, "--to", VERSIONS[goal - 1], *([] if up else ["-y"])]
        named = [word for name in chosen for word in ("--tenant", name)]
        return Order(
            command=command,
            arguments=("--config", config, *words, *named),
            goals={name: self.held[name].brought_to(goal) for name in chosen},
        )

    def _with_work(self, ranked: list[str], goal: int, *, up: bool) -> list[str]:
        found = [
            name
            for name in ranked
            if (self.held[name].version < goal if up else self.held[name].version > goal)
        ]
        return sorted(found[:TENANTS_AT_ONCE])

    def _disturb(self, decision: Decision, order: Order) -> bool:
        """Whether a kill landed, with nothing but the re-run to follow it."""
        fault = decision.fault
        point = self._point(decision, order)
        after = decision.moment * self._seconds
        at = point if fault == "failpoint" else f"after {after:.2f} s"
        words = " ".join(order.arguments[2:5])
        print(
            f"{self.ledger:7} {self.rounds:5} {fault:9} {at:24} {words} on"
            f" {','.join(order.tenants)}",
            flush=True,
        )
        if fault == "failpoint":
            return self._count(self._run(order, failpoint=point))
        if fault == "rivals":
            self._rivals(decision, order, after)
            return False
        first = self._start(order)
        in_time = self._sleep(after, first)
        if fault == "stop":
            self._stop(order, first)
        elif fault == "cut":
            self.proxy.cut()
            self.done["cuts"] += 1
        elif fault == "server":
            self.mariadb.kill()
            self._start_server()
            self.done["server restarts"] += 1
        else:
            first.send(signal.SIGKILL)
        killed = self._count(first.wait(120))
        if fault in ("kill", "twice"):
            # So that the moments are spread over the time that such commands take here.
            self._seconds = min(2.0, max(0.1, self._seconds * (1.03 if in_time else 0.94)))
        if fault == "twice":
            second = self._start(order)
            self._sleep(decision.again * self._seconds, second)
            second.send(signal.SIGKILL)
            return self._count(second.wait(120))
        return killed

    def _point(self, decision: Decision, order: Order) -> str:
        """One that such a command comes by, and the how manieth time."""
        kinds = ["store", "runner"]
        kinds += ["restore"] if order.command == "restore" else ["engine"]
        if decision.backup and order.command != "restore":
            kinds.append("backup")
        on_servers = any(name not in SQLITE for name in order.tenants)
        points = [
            point
            for point in POINTS
            if point.partition(".")[0] in kinds and (on_servers or point not in ON_SERVERS_ONLY)
        ]
        count = decision.count if len(order.tenants) > 2 else 1
        return f"{points[int(decision.point * len(points))]}:{count}"

    def _rivals(self, decision: Decision, order: Order, after: float) -> None:
        """Two of the same command; one is killed. The other one waits, takes over, and ends well."""
        first = self._start(order, host="elsewhere" if decision.elsewhere else "")
        rival = self._start(order)
        self._sleep(after, first)
        first.send(signal.SIGKILL)
        self._count(first.wait(120))
        ended = rival.wait(120)
        require(ended.code == 0, "the rival", ended)
        self.done["rivals"] += 1

    def _stop(self, order: Order, first: Program) -> None:
        """Stop it, let another host take over, and let it go on."""
        first.send(signal.SIGSTOP)
        try:
            # By another host's word nobody knows that it is not running: its lease has to end.
            ended = self._run(order, host="elsewhere")
        finally:
            first.send(signal.SIGCONT)
        if ended.code != 0:
            said = any(words in ended.err + ended.out for words in HELD_UP)
            require(said, "the run that took over", ended)
            self.done["stopped inside a transaction"] += 1
        self.done["stops"] += 1

    def _start(self, order: Order, **how: Any) -> Program:
        return self.fleet.start(*order.arguments, broken=self._broken, **how)

    def _run(self, order: Order, **how: Any) -> Ended:
        return self._start(order, **how).wait(120)

    def _sleep(self, seconds: float, running: Program) -> bool:
        """Whether it still runs after that time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not running.over:
            time.sleep(0.002)
        return not running.over

    def _count(self, ended: Ended) -> bool:
        if ended.killed:
            self.done["kills"] += 1
        else:
            require("Traceback" not in ended.err, "a traceback", ended)
            require("unexpected" not in ended.err, "a defect", ended)
            self.done["ended before it was hit" if ended.code == 0 else "failed and said so"] += 1
        return ended.killed

    def _check(self, order: Order) -> None:
        goals = order.goals
        found = self.fleet.found(order.tenants)
        for name in order.tenants:
            require(found[name] == goals[name].rows(name), f"what {name} holds", found[name], goals)
        named = [word for name in order.tenants for word in ("--tenant", name)]
        for row in self.fleet.ok("status", "--format", "json", *named).json()["tenants"]:
            version = goals[row["tenant"]].version
            require(row["lock"] is None, "a lock", row)
            require(row["applied"] == list(VERSIONS[:version]), "the applied set", row)
            require(row["state"] in ("current", "pending", "new"), "the state", row)
        self._neighbours()
        hidden = [path for name in order.tenants for path in self.fleet.half_written(name)]
        require(hidden == [], "half-written backups", *hidden)
        for event in self._take_new_events():
            # What a backup holds: the way from before the round to its applied set.
            name = event["tenant"]
            if event["type"] == "backup_created" and name in goals:
                version = len(event["body"].get("applied", ()))
                self.backups[name].append((event["seq"], self.held[name].brought_to(version)))
        self.held.update(goals)
        if self.rounds % CHECK_CHAIN_EVERY == 0:
            self.fleet.rebuild_tables()
            self.verify()
            left = [name for (name,) in query(self.fleet.server, "SHOW DATABASES LIKE '%scratch%'")]
            require(left == [], "scratch databases left", left)

    def _neighbours(self) -> None:
        """What is nobody's of the fleet is as it was written; then there is more of it."""
        neighbours = self.fleet.neighbours
        neighbours.check()
        neighbours.write()
        if self.rounds % NEW_SITE_EVERY == 0:
            neighbours.new_site()

    def _take_new_events(self) -> list[dict[str, Any]]:
        """The events since the last look; every step is recorded once in them."""
        seq, at = self._last
        events = [one for one in self.fleet.history("--since", at) if one["seq"] > seq]
        if events:
            self._last = events[-1]["seq"], str(events[-1]["at"])
        self.steps.feed(events)
        return events


def require(holds: bool, what: str, *seen: object) -> None:
    """Raises AssertionError that says what does not hold, and what was seen."""
    if not holds:
        raise AssertionError(f"{what}: " + "\n".join(map(str, seen)))
