"""A process of its own that works on a MySQL or MariaDB tenant, with a ledger of its own: a file.

Its arguments are ACTION FOLDER: the folder holds `target.json`
(which tenant) and `events.jsonl` (what was recorded, each append synced as a real
ledger's would be). It prints one JSON line: the outcome, or the error's class,
code, message and hint.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec

from ledger import failpoints
from ledger.drivers.url import MysqlUrl, Secret, SecretSource
from ledger.engines.base import Target
from ledger.engines.mysql.engine import MysqlEngine
from ledger.engines.work import Intent, StepResult, Work
from ledger.errors import InDoubtError, LedgerError, StepFailedError
from tests import programs
from tests.engines.work import LEDGER, check, work
from tests.programs import Program

UP = (
    "SET @word = 'spoken'",
    "CREATE TABLE makers (id INT PRIMARY KEY, name VARCHAR(40)) ENGINE=InnoDB",
    "CREATE TABLE items (id INT PRIMARY KEY, maker INT NULL, name VARCHAR(40),"
    " CONSTRAINT items_maker FOREIGN KEY (maker) REFERENCES makers (id)) ENGINE=InnoDB",
    "INSERT INTO makers (id, name) VALUES (1, '50%'), (2, @word)",
    "ALTER TABLE items ADD COLUMN category VARCHAR(20) NOT NULL DEFAULT 'none'",
    "INSERT INTO items (id, maker, name) SELECT id, id, name FROM makers",
    "START TRANSACTION",
    "UPDATE items SET category = 'some' WHERE id = 1",
    "INSERT INTO makers (id, name) VALUES (3, 'late')",
    "COMMIT",
    "CREATE VIEW items_seen AS SELECT i.id, m.name FROM items i JOIN makers m ON m.id = i.maker",
    "CREATE TRIGGER items_new BEFORE INSERT ON items FOR EACH ROW SET NEW.category = 'new'",
    "CREATE OR REPLACE VIEW makers_seen AS SELECT name FROM makers",
    "CREATE INDEX items_category ON items (category)",
    "INSERT INTO items (id, maker, name) VALUES (9, 1, 'last')",
)
DOWN = (
    "DROP VIEW makers_seen",
    "DROP VIEW items_seen",
    "DROP TRIGGER items_new",
    "DROP TABLE items",
    "DELETE FROM makers WHERE name = 'late'",
    "RENAME TABLE makers TO builders",
)
CHECKS = (check("SELECT count(*) = 3 FROM items", "three"),)


def write_target(folder: Path, url: MysqlUrl, password: str, *, prefix: str = "") -> None:
    """Say which tenant the folder's children work on."""
    (folder / "target.json").write_text(
        json.dumps({"url": msgspec.to_builtins(url), "password": password, "prefix": prefix})
    )


def read_target(folder: Path) -> Target:
    """The folder's tenant; its name is its database's."""
    said = json.loads((folder / "target.json").read_text())
    url = msgspec.convert(said["url"], MysqlUrl)
    return Target(
        name=url.database or "",
        engine="mysql",
        url=url,
        prefix=said["prefix"],
        secret=SecretSource(value=Secret(said["password"])) if said["password"] else SecretSource(),
        source="the test",
    )


class FileLedger:
    """Remembers across processes. Results wait for the next append, as the runner's do."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._pending: list[dict[str, Any]] = []

    async def intend(self, intent: Intent) -> None:
        """Durable when it returns."""
        self._pending.append({"intent": msgspec.to_builtins(intent)})
        self.flush()
        failpoints.reach("engine.after_intent")

    def require_lease(self) -> None:
        """It never runs out."""

    def landed(self, result: StepResult) -> None:
        """Recorded with the next append."""
        self._pending.append({"landed": result.number, "recovered": result.recovered})

    def flush(self, *more: dict[str, Any]) -> None:
        """Append what is pending, and sync."""
        new, self._pending = [*self._pending, *more], []
        with self.path.open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in new)
            file.flush()
            os.fsync(file.fileno())
        self.events += new

    def begin(self, direction: str) -> int:
        """A new claim: its epoch."""
        epoch = 1 + sum("claim" in event for event in self.events)
        self.flush({"claim": epoch, "direction": direction})
        return epoch

    def _since_end(self) -> list[dict[str, Any]]:
        ends = [number for number, event in enumerate(self.events) if "end" in event]
        return self.events[ends[-1] + 1 :] if ends else self.events

    def intent(self) -> Intent | None:
        """The last intent without an outcome."""
        found = None
        for event in self._since_end():
            if "intent" in event:
                found = msgspec.convert(event["intent"], Intent)
            elif "landed" in event or event.get("failed") == "step_failed":
                found = None
        return found

    def recorded(self) -> frozenset[int]:
        """Steps that are recorded since the last end."""
        return frozenset(event["landed"] for event in self._since_end() if "landed" in event)


async def act(action: str, folder: Path) -> dict[str, Any]:
    """Do one thing, as a runner would."""
    target = read_target(folder)
    ledger = FileLedger(folder)
    engine = MysqlEngine()
    direction: Literal["up", "down"] = "up" if action == "up" else "down"
    epoch = ledger.begin(action)
    try:
        async with engine.open(target) as session:
            if action == "backup":
                path = folder / f"backup-{epoch}.sql.zst"
                backup = await session.backup(path, deadline_seconds=60)
                made = {
                    "path": str(path),
                    "sha256": backup.sha256,
                    "fingerprint": backup.fingerprint,
                }
                (folder / "backup.json").write_text(json.dumps(made))
                return {"sha256": backup.sha256}
            if action == "restore":
                made = json.loads((folder / "backup.json").read_bytes())
                mark = await session.restore(
                    Path(made["path"]),
                    sha256=made["sha256"],
                    epoch=epoch,
                    ledger=LEDGER,
                    deadline_seconds=60,
                )
                return {"fingerprint": mark.fingerprint, "was": made["fingerprint"]}
            await session.fence(epoch=epoch, ledger=LEDGER)
            done = await session.apply(_work(folder, direction, epoch, ledger), ledger)
            ledger.flush({"end": action})
            return {"fingerprint": done.mark.fingerprint}
    except LedgerError as error:
        kind = "step_failed" if isinstance(error, StepFailedError) else type(error).__name__
        ledger.flush({"failed": kind})
        return {
            "error": type(error).__name__,
            "message": str(error),
            "hint": error.hint,
            "evidence": error.evidence if isinstance(error, InDoubtError) else {},
        }
    finally:
        await engine.aclose()


def _work(folder: Path, direction: Literal["up", "down"], epoch: int, ledger: FileLedger) -> Work:
    steps: tuple[str, ...] = UP if direction == "up" else DOWN
    own = folder / "steps.json"
    if own.exists():
        steps = tuple(json.loads(own.read_text()))
    order = work(
        *steps,
        direction=direction,
        epoch=epoch,
        checks=CHECKS if direction == "up" and not own.exists() else (),
        intent=ledger.intent(),
    )
    word = folder / "word.json"
    if word.exists():
        how, step = json.loads(word.read_text())
        order = msgspec.structs.replace(order, resolved=how, resolved_step=step)
    return msgspec.structs.replace(order, recorded=ledger.recorded())


def start(action: str, folder: Path, *, failpoint: str = "") -> Program:
    """A child on its way."""
    return programs.start(
        "tests.engines.mysql_child",
        action,
        str(folder),
        environment={"LEDGER_FAILPOINT": failpoint},
    )


def run(action: str, folder: Path, *, failpoint: str = "") -> tuple[int, dict[str, Any]]:
    """A child to its end: its exit code, and what it printed."""
    ended = start(action, folder, failpoint=failpoint).wait(90)
    assert ended.code in (0, -9), ended.err
    return ended.code, ended.json() if ended.out else {}


def main() -> None:
    """Read the arguments, act, and print."""
    print(json.dumps(anyio.run(act, sys.argv[1], Path(sys.argv[2]))))
