"""Projections: state is a function of the events, however it was stored and taken up again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ledger import events as ev
from ledger.events import AnyEvent, Holder, Mark, MigrationRef, Recorded
from ledger.projections import FleetState, TenantState, all_keys, dump, load

START = datetime(2026, 1, 1, tzinfo=UTC)
HOLDER = Holder(host="h", boot="b", pid=1, started=1, nonce="n")


def ref(version: str, checksum: str = "c") -> MigrationRef:
    return MigrationRef(set="app", version=version, name="m", checksum=checksum)


def started(epoch: int, lease_seconds: float = 60.0) -> ev.Started:
    return ev.Started(
        command="migrate",
        epoch=epoch,
        holder=HOLDER,
        lease_seconds=lease_seconds,
        engine="sqlite",
        migration=ref("1"),
    )


VERSIONS = st.sampled_from(["1", "2", "3", "4"])
TENANT_EVENTS: st.SearchStrategy[AnyEvent] = st.one_of(
    st.integers(1, 9).map(started),
    VERSIONS.map(
        lambda version: ev.Completed(
            command="migrate", migration=ref(version), duration_us=1, mark=Mark(fingerprint=version)
        )
    ),
    VERSIONS.map(lambda version: ev.RolledBack(migration=ref(version), duration_us=1)),
    st.lists(VERSIONS, unique=True).map(
        lambda versions: ev.Restored(
            path="p", sha256="s", backup_seq=1, applied=tuple(ref(version) for version in versions)
        )
    ),
    st.lists(VERSIONS, unique=True, min_size=1).map(
        lambda versions: ev.Baselined(migrations=tuple(ref(version) for version in versions))
    ),
    st.booleans().map(
        lambda doubt: ev.Failed(command="migrate", error="x", message="m", in_doubt=doubt)
    ),
    st.integers(1, 5).map(
        lambda step: ev.StepStarted(
            set="app", version="1", direction="up", step=step, statement="s"
        )
    ),
    st.integers(1, 5).map(
        lambda step: ev.StepApplied(
            set="app", version="1", direction="up", step=step, of=5, name="n", statement="s"
        )
    ),
    st.just(ev.TenantSkipped(reason="unreachable")),
    st.just(ev.LockCleared(epoch=3, reason="r")),
    st.just(ev.DriftDetected(kind="schema")),
    st.lists(VERSIONS, unique=True).map(
        lambda versions: ev.DriftDetected(
            kind="regressed", applied=tuple(ref(version) for version in versions)
        )
    ),
)
HISTORIES = st.lists(st.tuples(st.sampled_from(["acme", "beta"]), TENANT_EVENTS), max_size=30)


def record(history: list[tuple[str | None, AnyEvent]]) -> list[Recorded]:
    """A ledger's rows for a history, one second apart."""
    versions: dict[str, int] = {}
    rows = []
    for seq, (tenant, event) in enumerate(history, start=1):
        stream = f"tenant/{tenant}" if tenant else "run/r"
        versions[stream] = versions.get(stream, 0) + 1
        at = (START + timedelta(seconds=seq)).isoformat().replace("+00:00", "Z")
        rows.append(
            Recorded(
                seq=seq,
                stream=stream,
                version=versions[stream],
                type=str(event.__struct_config__.tag),
                at=at,
                run="r",
                actor="a",
                tenant=tenant,
                body=ev.encode_body(event),
            )
        )
    return rows


def folded(rows: list[Recorded]) -> FleetState:
    fleet = FleetState()
    fleet.fold(rows)
    return fleet


@given(HISTORIES, st.integers(0, 30))
def test_taking_up_a_stored_state_gives_what_a_full_replay_gives(
    history: list[tuple[str | None, AnyEvent]], cut: int
) -> None:
    """Stored at any seq, loaded, and the rest folded in: the same rows as from the first event on."""
    rows = record(history)
    whole = folded(rows)
    before = folded(rows[:cut])
    resumed = load(before.seq, dump(before, all_keys(before)).items())
    resumed.fold(rows[cut:])
    assert dump(resumed, all_keys(resumed)) == dump(whole, all_keys(whole))
    assert resumed.seq == whole.seq == len(rows)


@given(HISTORIES)
def test_touched_names_every_row_that_changed(history: list[tuple[str | None, AnyEvent]]) -> None:
    """Storing only what was touched loses nothing."""
    whole = folded(record(history))
    assert dump(whole, sorted(whole.touched)).keys() == dump(whole, all_keys(whole)).keys()


@given(HISTORIES)
def test_the_applied_set_follows_the_end_events(
    history: list[tuple[str | None, AnyEvent]],
) -> None:
    """Against a plain list of versions kept by hand."""
    expected: dict[str, list[str]] = {}
    for tenant, event in history:
        versions = expected.setdefault(str(tenant), [])
        match event:
            case ev.Completed(migration=one):
                versions[:] = [version for version in versions if version != one.version]
                versions.append(one.version)
            case ev.RolledBack(migration=one):
                versions[:] = [version for version in versions if version != one.version]
            case ev.Restored(applied=refs) | ev.DriftDetected(kind="regressed", applied=refs):
                versions[:] = [one.version for one in refs]
            case ev.Baselined(migrations=refs):
                for one in refs:
                    versions[:] = [version for version in versions if version != one.version]
                    versions.append(one.version)
            case _:
                pass
    fleet = folded(record(history))
    for tenant, versions in expected.items():
        assert [one.version for one in fleet.tenants[tenant].applied] == versions


def test_equal_applied_sets_are_one_object() -> None:
    """A thousand equal tenants share one tuple, folded or loaded."""
    history: list[tuple[str | None, AnyEvent]] = [
        (f"t{number}", ev.Completed(command="migrate", migration=ref("1"), duration_us=1))
        for number in range(1000)
    ]
    fleet = folded(record(history))
    loaded = load(fleet.seq, dump(fleet, all_keys(fleet)).items())
    for state in (fleet, loaded):
        assert len({id(tenant.applied) for tenant in state.tenants.values()}) == 1


def test_a_claim_lives_as_long_as_its_lease_and_renewals_prolong_it() -> None:
    """The lock is a projection: the last started without an end, while its run's lease lasts."""
    history: list[tuple[str | None, AnyEvent]] = [("acme", started(1, lease_seconds=10))]
    fleet = folded(record(history))
    claimed_at = START + timedelta(seconds=1)
    acme = fleet.tenants["acme"]
    assert fleet.lock(acme, claimed_at + timedelta(seconds=9)) is acme.claim
    assert fleet.lock(acme, claimed_at + timedelta(seconds=11)) is None
    renewed = folded(record([*history, (None, ev.LeaseRenewed(lease_seconds=10))]))
    assert renewed.lock(renewed.tenants["acme"], claimed_at + timedelta(seconds=10.5)) is not None


def test_a_claim_ends_with_each_end_event() -> None:
    """Each of them frees the tenant, and there is no other."""
    ends: list[AnyEvent] = [
        ev.Completed(command="migrate", migration=ref("1"), duration_us=1),
        ev.Failed(command="migrate", error="x", message="m"),
        ev.RolledBack(migration=ref("1"), duration_us=1),
        ev.Restored(path="p", sha256="s", backup_seq=1),
        ev.Baselined(migrations=(ref("1"),)),
        ev.Imported(migrations=(ref("1"),), source="flyway"),
        ev.LockCleared(epoch=1, reason="r"),
        ev.Reset(mode="mark_only"),
        ev.Maintained(task="optimize"),
    ]
    assert {type(event) for event in ends} == set(ev.END_EVENTS)
    for end in ends:
        fleet = folded(record([("acme", started(1)), ("acme", end)]))
        assert fleet.tenants["acme"].claim is None, end


def test_the_fence_never_falls() -> None:
    """A lock cleared by a person at a higher epoch fences: the next claim is above it."""
    fleet = folded(record([("acme", started(3)), ("acme", ev.LockCleared(epoch=4, reason="r"))]))
    assert fleet.tenants["acme"].epoch == 4


def test_a_stored_state_survives_unknown_fields() -> None:
    """A row that a newer version wrote with one field more still loads."""
    fleet = folded(record([("acme", started(1))]))
    rows = dump(fleet, ["tenant/acme"])
    content = msgspec.json.decode(rows["tenant/acme"])
    content["state"]["added_later"] = 1
    loaded = load(1, [("tenant/acme", msgspec.json.encode(content))])
    assert loaded.tenants["acme"].epoch == 1


def test_equal_applied_sets_are_stored_as_the_same_bytes() -> None:
    """A name that was read from a body equals the default without being it, and must not show."""
    read = "".join(("sha", "256"))
    stored = []
    for algorithm in ("sha256", read):
        ref = MigrationRef(
            set="s", version="1", name="n", checksum="c", algorithm=algorithm, sources=()
        )
        fleet = FleetState()
        fleet.tenants["t"] = TenantState(tenant="t", applied=fleet.sets.intern((ref,)))
        stored.append(dump(fleet, ["tenant/t"]))
    assert stored[0] == stored[1]
