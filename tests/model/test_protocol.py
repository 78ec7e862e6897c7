"""Hypothesis explores the claim protocol: two runners, crashes anywhere, skewed clocks, leases that end."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.model.protocol import GUARDS, ROWS, STEPS, Guard, Runner, Store, Tenant, problems

WHO = st.sampled_from([0, 1])
MANY = settings(
    max_examples=600,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

FIND = settings(MANY, max_examples=5000, phases=[Phase.generate], derandomize=True)
"""Any history will do, not the shortest; and the same ones every time, since finding is luck else."""


class Protocol(RuleBasedStateMachine):
    """Everything that can happen, in any order; the invariants hold after each."""

    guards: frozenset[Guard] = GUARDS

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(self.guards)
        self.tenant = Tenant(self.guards)
        self.runners = [Runner(name, self.store, self.tenant, self.guards) for name in "ab"]

    @rule(who=WHO, skew=st.sampled_from([0.0, 0.0, 86400.0, -86400.0]))
    def claim(self, who: int, skew: float) -> None:
        """Try to get the tenant, with a clock that may be wrong."""
        if self.runners[who].phase == "idle":
            alive = frozenset(one.run for one in self.runners)
            self.runners[who].claim(alive=alive, clock_skew=skew)

    @rule(who=WHO)
    def advance(self, who: int) -> None:
        """The next transition of a runner at work."""
        runner = self.runners[who]
        if runner.phase == "claimed":
            runner.fence()
        elif runner.phase == "fenced" and runner.step == STEPS:
            runner.complete()
        elif runner.phase == "fenced" and runner.step + 1 == ROWS:
            runner.rows()
        elif runner.phase == "fenced":
            runner.announce()
        elif runner.phase == "announced":
            runner.execute()
        elif runner.phase == "executed":
            runner.mark()

    @rule(who=WHO)
    def skip_marker(self, who: int) -> None:
        """After a statement that was announced, the next intent may stand for the marker."""
        runner = self.runners[who]
        if runner.phase == "executed" and runner.step < STEPS:
            runner.phase = "fenced"

    @rule(who=WHO)
    def crash(self, who: int) -> None:
        """kill -9 between any two transitions."""
        self.runners[who].crash()

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def wait(self, seconds: float) -> None:
        """Time passes; a lease may end while its holder is stopped."""
        self.store.clock += seconds

    @precondition(lambda self: all(one.phase == "done" for one in self.runners))
    @rule()
    def over(self) -> None:
        """Both know that it is done."""
        assert [step for _, step in self.tenant.executed] == list(range(1, STEPS + 1))

    @invariant()
    def nothing_is_wrong(self) -> None:
        """At most one writes, no step twice, nothing settled wrongly."""
        assert problems(self.store, self.tenant) == []

    def teardown(self) -> None:
        """Left alone, one runner brings it to its end: nothing is stuck."""
        runner = self.runners[0]
        self.runners[1].crash()
        runner.crash()
        self.store.clock += 100.0
        for _ in range(4 * STEPS + 4):
            if runner.phase == "idle":
                alive = frozenset(one.run for one in self.runners)
                runner.claim(alive=alive, clock_skew=0.0)
            self.advance(0)
        assert runner.phase == "done"
        assert problems(self.store, self.tenant) == []


def without(guard: Guard) -> type[Protocol]:
    """The protocol with one guard taken away."""
    return type(f"Without_{guard}", (Protocol,), {"guards": GUARDS - {guard}})


@pytest.mark.fault("model")
def test_the_protocol_keeps_its_invariants() -> None:
    """Whatever crashes whenever, with whatever clocks: one executor, each step once, settled right."""
    run_state_machine_as_test(Protocol, settings=MANY)


@pytest.mark.fault("model")
@pytest.mark.parametrize("guard", ["version", "fence", "marker", "intent"])
def test_every_guard_is_needed(guard: Guard) -> None:
    """Without any one of these the same exploration finds a history that goes wrong."""
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(without(guard), settings=FIND)


@pytest.mark.fault("model")
@pytest.mark.parametrize("guard", ["lease"])
def test_a_lease_is_courtesy(guard: Guard) -> None:
    """It decides only when to take over: without it nothing is ever wrong."""
    run_state_machine_as_test(without(guard), settings=MANY)
