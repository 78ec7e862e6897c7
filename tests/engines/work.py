"""Building migrations and their work by hand, and hearing what an engine reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ledger.dialects.steps import Check, Section, SkipIf, Step, sha256_hex
from ledger.engines.work import Intent, StepResult, Work
from ledger.events import MigrationRef
from ledger.scripts.model import PythonModule

CREATE = "CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(40))"
FILL = "INSERT INTO items (id, name) VALUES (1, 'one'), (2, 'two')"
ADD = "ALTER TABLE items ADD COLUMN category VARCHAR(20)"
INDEX = "CREATE INDEX items_name ON items (name)"
LEDGER = "ledger-of-the-test"


def ref(version: str = "1") -> MigrationRef:
    """A migration of the set `app`."""
    return MigrationRef(set="app", version=version, name=f"m{version}", checksum=f"sum-{version}")


def step(number: int, sql: str, **more: object) -> Step:
    """A step at line 10 times number of `app.sql`."""
    fields: dict[str, object] = {
        "number": number,
        "name": f"step {number}",
        "sql": sql,
        "file": "app.sql",
        "line": number * 10,
        "sha256": sha256_hex(sql),
    }
    return Step(**(fields | more))  # type: ignore[arg-type]


def skip(kind: Literal["column", "table", "index", "view", "sql"], subject: str) -> SkipIf:
    """A guard."""
    return SkipIf(kind=kind, subject=subject, text=subject)


def check(sql: str, name: str = "holds") -> Check:
    """A check at line 90."""
    return Check(name=name, sql=sql, file="app.sql", line=90)


def work(
    *statements: str | Step,
    version: str = "1",
    direction: Literal["up", "down"] = "up",
    checks: Iterable[Check] = (),
    epoch: int = 1,
    ledger: str = LEDGER,
    expected: Iterable[str] = (),
    transaction: bool = True,
    foreign_keys: bool | None = None,
    python: PythonModule | None = None,
    timeout_seconds: float | None = None,
    intent: Intent | None = None,
) -> Work:
    """The work of one migration whose steps are these statements."""
    steps = tuple(
        one if isinstance(one, Step) else step(number, one)
        for number, one in enumerate(statements, start=1)
    )
    return Work(
        ref=ref(version),
        direction=direction,
        section=Section(steps=steps, transaction=transaction, foreign_keys=foreign_keys),
        checks=tuple(checks),
        epoch=epoch,
        ledger=ledger,
        expected=frozenset(expected),
        python=python,
        timeout_seconds=timeout_seconds,
        intent=intent,
    )


class Journal:
    """Remembers what the engine reported."""

    def __init__(self) -> None:
        self.intents: list[Intent] = []
        self.results: list[StepResult] = []

    async def intend(self, intent: Intent) -> None:
        """At once durable, as far as a test goes."""
        self.intents.append(intent)

    def require_lease(self) -> None:
        """It never runs out."""

    def landed(self, result: StepResult) -> None:
        """In order."""
        self.results.append(result)

    @property
    def numbers(self) -> list[int]:
        """The steps that landed."""
        return [result.number for result in self.results]
