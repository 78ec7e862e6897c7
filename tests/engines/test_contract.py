"""The engine contract: what ledger/engines/base.py promises of going forward, on every database alike."""

from __future__ import annotations

import anyio
import pytest

from ledger.engines.base import Engine, Target
from ledger.errors import (
    CheckFailedError,
    FencedError,
    MarkerMismatchError,
    StepFailedError,
    TenantError,
)
from ledger.schema import fingerprint
from tests.engines.adapters import Adapter
from tests.engines.work import (
    ADD,
    CREATE,
    FILL,
    INDEX,
    LEDGER,
    Journal,
    check,
    ref,
    skip,
    step,
    work,
)


class TestMarker:
    """What the tenant remembers."""

    async def test_is_empty_at_first(self, engine: Engine, target: Target) -> None:
        """A tenant without the table has epoch 0 and no entries, and reading makes none."""
        async with engine.open(target) as session:
            marker = await session.marker()
            assert (marker.epoch, marker.ledger, marker.entries) == (0, "", ())

    async def test_holds_what_was_applied(self, engine: Engine, target: Target) -> None:
        """An entry is the migration, its steps' results, and the epoch that did it."""
        async with engine.open(target) as session:
            journal = Journal()
            await session.apply(work(CREATE, FILL, epoch=4), journal)
            marker = await session.marker()
        assert (marker.epoch, marker.ledger) == (4, LEDGER)
        (entry,) = marker.entries
        assert (entry.ref, entry.state, entry.direction) == (ref(), "applied", "up")
        assert [result.number for result in entry.steps] == [1, 2]

    async def test_keeps_out_of_the_schema(self, engine: Engine, target: Target) -> None:
        """The marker table is not part of the tenant's schema."""
        async with engine.open(target) as session:
            before = await session.schema()
            await session.fence(epoch=1, ledger=LEDGER)
            assert await session.schema() == before


class TestFence:
    """The number that only grows."""

    async def test_returns_what_was_there(self, engine: Engine, target: Target) -> None:
        """The first call finds nothing, the second the first's epoch."""
        async with engine.open(target) as session:
            assert (await session.fence(epoch=3, ledger=LEDGER)).epoch == 0
            assert (await session.fence(epoch=5, ledger=LEDGER)).epoch == 3
            assert (await session.marker()).epoch == 5

    async def test_refuses_an_older_claim(self, engine: Engine, target: Target) -> None:
        """A runner whose claim has passed on writes nothing, and learns the newer epoch."""
        async with engine.open(target) as session:
            await session.fence(epoch=5, ledger=LEDGER)
            with pytest.raises(FencedError) as caught:
                await session.fence(epoch=4, ledger=LEDGER)
            assert caught.value.found == 5
            assert (await session.marker()).epoch == 5

    async def test_holds_for_apply(self, engine: Engine, target: Target, adapter: Adapter) -> None:
        """No statement of an older claim reaches the tenant."""
        async with engine.open(target) as session:
            await session.fence(epoch=5, ledger=LEDGER)
        async with engine.open(target) as session:
            journal = Journal()
            with pytest.raises(FencedError):
                await session.apply(work(CREATE, epoch=4), journal)
        assert journal.results == []
        assert adapter.tables(target) == set()

    async def test_holds_for_adopt(self, engine: Engine, target: Target) -> None:
        """An older claim cannot rewrite the marker either."""
        async with engine.open(target) as session:
            await session.fence(epoch=5, ledger=LEDGER)
        async with engine.open(target) as session:
            with pytest.raises(FencedError):
                await session.adopt([ref()], epoch=4, ledger=LEDGER)
            assert (await session.marker()).entries == ()

    async def test_knows_its_ledger(self, engine: Engine, target: Target, adapter: Adapter) -> None:
        """Another ledger's tenant is left alone, with a hint that says how to take it over."""
        async with engine.open(target) as session:
            await session.fence(epoch=1, ledger="another")
        async with engine.open(target) as session:
            with pytest.raises(TenantError, match="another ledger") as caught:
                await session.apply(work(CREATE, epoch=9), Journal())
        assert "baseline" in caught.value.hint
        assert adapter.tables(target) == set()


class TestApply:
    """A migration, forwards."""

    async def test_runs_every_step_and_reports_it(
        self, engine: Engine, target: Target, adapter: Adapter
    ) -> None:
        """Each step is reported once, in order, with the rows it changed."""
        async with engine.open(target) as session:
            journal = Journal()
            done = await session.apply(work(CREATE, FILL, INDEX), journal)
        assert journal.numbers == [1, 2, 3]
        assert journal.results[1].rows == 2
        assert not any(result.recovered or result.skipped for result in journal.results)
        assert done.mark.fingerprint
        assert adapter.rows(target, "SELECT name FROM items ORDER BY id") == [("one",), ("two",)]

    async def test_lands_nothing_twice(
        self, engine: Engine, target: Target, adapter: Adapter
    ) -> None:
        """Applied again, only the kept results are reported, as recovered."""
        order = work(CREATE, FILL, checks=[check("SELECT count(*) = 2 FROM items")])
        async with engine.open(target) as session:
            first = await session.apply(order, Journal())
        async with engine.open(target) as session:
            journal = Journal()
            second = await session.apply(order, journal)
        assert journal.numbers == [1, 2]
        assert all(result.recovered for result in journal.results)
        assert second.mark.fingerprint == first.mark.fingerprint
        assert adapter.rows(target, "SELECT count(*) FROM items") == [(2,)]

    async def test_gives_the_schema_once(self, engine: Engine, target: Target) -> None:
        """The schema comes along only if its fingerprint is news to the caller."""
        async with engine.open(target) as session:
            done = await session.apply(work(CREATE), Journal())
            assert done.schema is not None
            assert fingerprint(done.schema) == done.mark.fingerprint
            assert done.schema == await session.schema()
            again = await session.apply(
                work(CREATE), Journal(), known=frozenset({done.mark.fingerprint or ""})
            )
            assert again.schema is None

    async def test_refuses_a_tenant_that_went_back(
        self, engine: Engine, target: Target, adapter: Adapter
    ) -> None:
        """If the marker does not hold what the ledger expects, nothing is written."""
        async with engine.open(target) as session:
            await session.apply(work(CREATE, version="1"), Journal())
        async with engine.open(target) as session:
            with pytest.raises(MarkerMismatchError) as caught:
                await session.apply(work(ADD, version="3", epoch=2, expected=["app/2"]), Journal())
        assert caught.value.missing == ("app/2",)
        assert caught.value.extra == ("app/1",)
        assert len(adapter.rows(target, "SELECT * FROM items WHERE 1 = 0")) == 0

    async def test_knows_its_predecessors(self, engine: Engine, target: Target) -> None:
        """Migrations follow each other, each with the set of those before it."""
        async with engine.open(target) as session:
            await session.apply(work(CREATE, version="1"), Journal())
            await session.apply(work(ADD, version="2", epoch=2, expected=["app/1"]), Journal())
            marker = await session.marker()
        assert {entry.ref.version for entry in marker.entries} == {"1", "2"}
        assert marker.epoch == 2

    async def test_names_the_statement_that_failed(self, engine: Engine, target: Target) -> None:
        """The error carries the step, its file and line, and the database's own code."""
        async with engine.open(target) as session:
            await session.apply(work(CREATE, FILL, version="1"), Journal())
            with pytest.raises(StepFailedError) as caught:
                await session.apply(
                    work(ADD, FILL, version="2", epoch=2, expected=["app/1"]), Journal()
                )
            assert "app/2" not in {
                entry.ref.version
                for entry in (await session.marker()).entries
                if entry.state == "applied"
            }
        error = caught.value
        assert (error.step, error.file, error.line) == (2, "app.sql", 20)
        assert error.database_code
        assert error.tenant == target.name

    async def test_keeps_the_literals_of_a_secret_step(
        self, engine: Engine, target: Target
    ) -> None:
        """Nothing of a secret statement's text is in the error."""
        canary = "canary-9f2c"
        secret = step(
            2, f"INSERT INTO items (id, name) VALUES ('{canary}' '{canary}' , x", secret=True
        )
        async with engine.open(target) as session:
            with pytest.raises(StepFailedError) as caught:
                await session.apply(work(CREATE, secret), Journal())
        assert canary not in f"{caught.value} {caught.value.hint}"

    @pytest.mark.parametrize(
        ("kind", "subject"),
        [
            ("column", "items.name"),
            ("table", "items"),
            ("index", "items_name"),
            ("view", "items_seen"),
            ("sql", "SELECT count(*) = 2 FROM items"),
        ],
    )
    async def test_skips_what_is_there(
        self, engine: Engine, target: Target, adapter: Adapter, kind: str, subject: str
    ) -> None:
        """A guard that holds skips its step with a reason; the others run."""
        adapter.run(target, CREATE, FILL, INDEX, "CREATE VIEW items_seen AS SELECT id FROM items")
        guarded = step(1, "DELETE FROM items", skip_if=skip(kind, subject))  # type: ignore[arg-type]
        async with engine.open(target) as session:
            journal = Journal()
            await session.apply(work(guarded, ADD), journal)
        assert journal.results[0].skipped
        assert not journal.results[1].skipped
        assert adapter.rows(target, "SELECT count(*) FROM items") == [(2,)]

    @pytest.mark.parametrize(
        ("kind", "subject"),
        [
            ("column", "items.missing"),
            ("table", "others"),
            ("index", "others_name"),
            ("view", "items"),
            ("sql", "SELECT count(*) = 3 FROM items"),
        ],
    )
    async def test_does_not_skip_what_is_not_there(
        self, engine: Engine, target: Target, adapter: Adapter, kind: str, subject: str
    ) -> None:
        """A guard that does not hold lets its step run."""
        adapter.run(target, CREATE, FILL)
        guarded = step(1, "DELETE FROM items", skip_if=skip(kind, subject))  # type: ignore[arg-type]
        async with engine.open(target) as session:
            journal = Journal()
            await session.apply(work(guarded), journal)
        assert not journal.results[0].skipped
        assert adapter.rows(target, "SELECT count(*) FROM items") == [(0,)]

    async def test_ends_a_step_that_takes_too_long(
        self, engine: Engine, target: Target, adapter: Adapter
    ) -> None:
        """After timeout_seconds the statement is ended, the step named, and the session usable."""
        adapter.run(target, CREATE)
        async with engine.open(target) as session:
            with anyio.fail_after(60):
                with pytest.raises(StepFailedError, match="timed out after"):
                    await session.apply(
                        work(adapter.slow_statement, timeout_seconds=0.5), Journal()
                    )
        async with engine.open(target) as session:
            assert [e for e in (await session.marker()).entries if e.state == "applied"] == []
        assert adapter.rows(target, "SELECT count(*) FROM items") == [(0,)]

    async def test_cancelled_in_a_statement_leaves_no_half_migration(
        self, engine: Engine, target: Target, adapter: Adapter
    ) -> None:
        """A cancellation ends the statement; the migration is not applied, and can be afterwards."""
        adapter.run(target, CREATE)
        with anyio.fail_after(60):
            async with engine.open(target) as session:
                with anyio.move_on_after(0.5) as scope:
                    await session.apply(work(adapter.slow_statement), Journal())
        assert scope.cancelled_caught
        assert adapter.rows(target, "SELECT count(*) FROM items") == [(0,)]
        async with engine.open(target) as session:
            await session.apply(work(FILL, version="2", epoch=2), Journal())
        assert adapter.rows(target, "SELECT count(*) FROM items") == [(2,)]


class TestChecks:
    """The verify section."""

    async def test_hold_and_are_reported(self, engine: Engine, target: Target) -> None:
        """Every check that held is in the outcome, by name."""
        checks = [check("SELECT count(*) = 2 FROM items", "two"), check("SELECT 1", "one")]
        async with engine.open(target) as session:
            done = await session.apply(work(CREATE, FILL, checks=checks), Journal())
        assert [(result.name, result.passed) for result in done.checks] == [
            ("two", True),
            ("one", True),
        ]

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT count(*) = 3 FROM items",
            "SELECT NULL",
            "SELECT ''",
            "SELECT name FROM items WHERE 1 = 0",
            "SELECT nothing FROM items",
        ],
    )
    async def test_that_fail_stop_the_migration(
        self, engine: Engine, target: Target, sql: str
    ) -> None:
        """0, NULL, empty, no row, an error: the migration is not applied, and the check named."""
        async with engine.open(target) as session:
            with pytest.raises(CheckFailedError, match="the name of it"):
                await session.apply(
                    work(CREATE, FILL, checks=[check(sql, "the name of it")]), Journal()
                )
            entries = (await session.marker()).entries
        assert [entry for entry in entries if entry.state == "applied"] == []

    async def test_run_on_their_own(self, engine: Engine, target: Target, adapter: Adapter) -> None:
        """`check` reports each; one that cannot run has not passed, in the database's words."""
        adapter.run(target, CREATE, FILL)
        async with engine.open(target) as session:
            good, bad, broken = await session.check(
                [
                    check("SELECT count(*) = 2 FROM items"),
                    check("SELECT count(*) = 3 FROM items"),
                    check("SELECT nothing FROM items"),
                ]
            )
        assert (good.passed, bad.passed, broken.passed) == (True, False, False)
        assert "nothing" in broken.detail

    async def test_mean_the_same_everywhere(self, engine: Engine, target: Target) -> None:
        """Texts and bytes that say 0 or false are false; every other value but 0 and NULL is true."""
        false = ("'0'", "'0.00'", "'false'", "''", "x'00'", "x'0000'", "0.0", "NULL")
        true = ("'1'", "'00.1'", "'ok'", "x'01'", "-1", "0.5")
        async with engine.open(target) as session:
            results = await session.check([check(f"SELECT {one}", one) for one in (*false, *true)])
        assert [one.name for one in results if not one.passed] == list(false)

    async def test_cannot_write(self, engine: Engine, target: Target, adapter: Adapter) -> None:
        """A check that would change the tenant does not pass, and changes nothing."""
        adapter.run(target, CREATE, FILL)
        async with engine.open(target) as session:
            (result,) = await session.check([check("DELETE FROM items")])
        assert not result.passed
        assert adapter.rows(target, "SELECT count(*) FROM items") == [(2,)]
