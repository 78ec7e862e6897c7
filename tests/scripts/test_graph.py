"""The order of migrations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.dialects.steps import Section
from ledger.errors import ScriptError
from ledger.events import MigrationRef
from ledger.scripts.graph import gaps, order_set, order_sets
from ledger.scripts.model import Migration, MigrationSet
from ledger.scripts.version import version_key


def _migration(version: str, *depends: str, set_name: str = "app") -> Migration:
    pairs = []
    for item in depends:
        owner, _, wanted = item.rpartition("/")
        pairs.append((owner or set_name, wanted))
    return Migration(
        ref=MigrationRef(set=set_name, version=version, name="x", checksum=""),
        key=version_key(version) or (),
        path=f"{set_name}/{version}_x.sql",
        up=Section(steps=()),
        dialect="sqlite",
        depends=tuple(pairs),
    )


def _versions(migrations: tuple[Migration, ...]) -> list[str]:
    return [one.ref.version for one in migrations]


@st.composite
def _acyclic(draw: st.DrawFn) -> list[Migration]:
    """Migrations whose dependencies follow some hidden order, in any order."""
    hidden = draw(st.permutations(range(1, draw(st.integers(1, 12)) + 1)))
    made = []
    for position, number in enumerate(hidden):
        earlier = [f"{one}" for one in hidden[:position]]
        wanted = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        made.append(_migration(f"{number:03}", *wanted))
    return draw(st.permutations(made))


@given(_acyclic())
def test_dependencies_come_first_otherwise_the_version_decides(
    migrations: list[Migration],
) -> None:
    """Each migration follows what it needs, and the order is the smallest such one."""
    ordered = order_set(migrations)
    assert sorted(_versions(ordered)) == sorted(one.ref.version for one in migrations)
    done: set[tuple[str, str]] = set()
    left = {one.ref.version: set(one.depends) for one in ordered}
    for one in ordered:
        ready = min(version for version, needs in left.items() if needs <= done)
        assert one.ref.version == ready
        done.add((one.ref.set, one.ref.version))
        del left[ready]


@given(_acyclic())
def test_the_order_does_not_depend_on_how_files_are_listed(
    migrations: list[Migration],
) -> None:
    """Reversed or not, the same migrations have one order."""
    assert order_set(migrations) == order_set(migrations[::-1])


def test_a_cycle_is_shown_as_its_path() -> None:
    """The error walks round the cycle, and leaves out what only leads to it."""
    found = [
        _migration("001", "2"),
        _migration("002", "005"),
        _migration("5", "2"),
        _migration("6"),
    ]
    with pytest.raises(ScriptError, match="cycle: 002 → 5 → 002"):
        order_set(found)
    with pytest.raises(ScriptError, match="cycle: 1 → 1"):
        order_set([_migration("1", "1")])


def test_a_missing_version_is_named_with_who_needs_it() -> None:
    """A dependency in this set must exist; the hint lists what there is."""
    with pytest.raises(ScriptError, match="002 → 009: set app has no version 009") as caught:
        order_set([_migration("001"), _migration("002", "009")])
    assert caught.value.hint == "It has 001, 002."


def test_two_files_of_one_version_are_both_named() -> None:
    """`001` and `1` are one version."""
    with pytest.raises(ScriptError, match=r"app/001_x\.sql and app/1_x\.sql"):
        order_set([_migration("001"), _migration("1")])


def test_several_sets_are_ordered_together() -> None:
    """A dependency on another set is met there, and is an error only when sets come together."""
    app = order_set([_migration("001", "billing/2"), _migration("002")])
    billing = order_set(
        [_migration("1", set_name="billing"), _migration("2", "1", set_name="billing")]
    )
    sets = [
        MigrationSet(name=name, path=name, dialect="sqlite", migrations=one)
        for name, one in (("app", app), ("billing", billing))
    ]
    assert [one.id for one in order_sets(sets)] == ["billing/1", "app/002", "billing/2", "app/001"]
    with pytest.raises(ScriptError, match="001 → billing/2: there is no set billing"):
        order_sets(sets[:1])


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["001", "002", "004"], ["gap: 003 missing between 002 and 004"]),
        (["1", "2", "9", "10", "12"], ["gap: 3 … 8 missing between 2 and 9", "gap: 11 missing between 10 and 12"]),
        (["010", "020", "030"], []),
        (["1.0.0", "3.0.0"], []),
        (["20240101000000", "20240101000001", "20250101000000"], []),
        ([], []),
    ],
)  # fmt: skip
def test_gaps_are_told_in_plain_sequences_only(versions: list[str], expected: list[str]) -> None:
    """001, 002, 004 has a gap; tens, dotted versions and timestamps have none."""
    assert list(gaps([_migration(version) for version in versions])) == expected
