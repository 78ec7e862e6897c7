"""Decisions: what is pending, what is refused, what may be undone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.dialects.steps import DialectName, Section, Step, sha256_hex
from ledger.errors import ChecksumMismatchError, OutOfOrderError, ScriptError, UsageError
from ledger.events import MigrationRef
from ledger.plan import Catalogue, Options, decide, decide_rollback
from ledger.scripts.graph import order_sets
from ledger.scripts.model import Migration, MigrationSet


def migration(
    version: str,
    *,
    set_name: str = "app",
    depends: tuple[tuple[str, str], ...] = (),
    sql: str = "SELECT 1",
    checksum: str = "c",
) -> Migration:
    step = Step(number=1, name="s", sql=sql, file="f.sql", line=3, sha256=sha256_hex(sql))
    return Migration(
        ref=MigrationRef(set=set_name, version=version, name="m", checksum=checksum),
        key=tuple(int(part) for part in version.split(".")),
        path=f"{set_name}/{version}_m.sql",
        up=Section(steps=(step,)),
        dialect="sqlite",
        depends=depends,
    )


def catalogue(
    *migrations: Migration, target: str | None = None, dialect: DialectName = "sqlite"
) -> Catalogue:
    names = sorted({one.ref.set for one in migrations})
    sets = {
        name: MigrationSet(
            name=name,
            path=name,
            dialect=dialect,
            migrations=tuple(one for one in migrations if one.ref.set == name),
            target=target,
        )
        for name in names
    }
    return Catalogue(sets=tuple(sets.values()), order=order_sets(tuple(sets.values())))


THREE = catalogue(migration("1"), migration("2"), migration("10"))


def ids(pending: tuple[Migration, ...]) -> list[str]:
    return [one.id for one in pending]


def test_versions_are_pending_in_numeric_order() -> None:
    """10 comes after 2, and what is applied is not pending."""
    assert ids(decide((), THREE, Options()).pending) == ["app/1", "app/2", "app/10"]
    assert ids(decide((migration("1").ref,), THREE, Options()).pending) == ["app/2", "app/10"]


def test_to_caps_a_run_and_takes_dependencies_of_other_sets_along() -> None:
    """`to` is inclusive; another set's migrations come only where they are needed."""
    both = catalogue(
        migration("1"),
        migration("2", depends=(("billing", "1"),)),
        migration("3"),
        migration("1", set_name="billing"),
        migration("2", set_name="billing"),
    )
    assert ids(decide((), both, Options(to="app/2")).pending) == ["app/1", "billing/1", "app/2"]


def test_an_unknown_or_ambiguous_target_is_refused_with_the_choices() -> None:
    """The message names what there is."""
    with pytest.raises(UsageError) as unknown:
        decide((), THREE, Options(to="7"))
    assert "app/10" in unknown.value.hint
    both = catalogue(migration("1"), migration("1", set_name="billing"))
    with pytest.raises(UsageError, match="more than one set"):
        decide((), both, Options(to="1"))


def test_the_sets_target_version_caps_a_run() -> None:
    """version.json's target_version holds where the caller says nothing."""
    capped = catalogue(migration("1"), migration("2"), migration("3"), target="2")
    assert ids(decide((), capped, Options()).pending) == ["app/1", "app/2"]
    assert ids(decide((), capped, Options(to="3")).pending) == ["app/1", "app/2", "app/3"]


def test_a_late_version_is_an_error_unless_asked_for() -> None:
    """1 is pending below the applied 2."""
    applied = (migration("2").ref,)
    problem = decide(applied, THREE, Options()).problem
    assert isinstance(problem, OutOfOrderError)
    assert problem.migration == "app/1"
    assert "--out-of-order" in problem.hint
    allowed = decide(applied, THREE, Options(out_of_order=True))
    assert ids(allowed.pending) == ["app/1", "app/10"]


def test_an_edited_applied_migration_shows_both_checksums() -> None:
    """Old and new are in the message; nothing is pending."""
    problem = decide((migration("1", checksum="old").ref,), THREE, Options()).problem
    assert isinstance(problem, ChecksumMismatchError)
    assert "old" in problem.message
    assert " c" in problem.message


def test_a_dependency_on_a_set_that_is_not_followed_is_refused() -> None:
    """The message names set and version."""
    with pytest.raises(ScriptError, match="billing/3"):
        alone = catalogue(migration("1", depends=(("billing", "3"),)))
        decided = decide((), alone, Options())
        if decided.problem is not None:
            raise decided.problem


def test_statements_that_cannot_be_settled_are_warned_of_or_refused() -> None:
    """MySQL only; strict refuses, a directive settles."""
    sql = "CALL tidy_up()"
    mysql = catalogue(migration("1", sql=sql), dialect="mysql")
    warnings = decide((), mysql, Options()).warnings
    assert len(warnings) == 1
    assert warnings[0].startswith("f.sql:3:")
    problem = decide((), mysql, Options(strict=True)).problem
    assert isinstance(problem, ScriptError)
    assert "redo-safe" in problem.hint
    assert decide((), catalogue(migration("1", sql=sql)), Options()).warnings == ()


APPLIED = tuple(migration(version).ref for version in ("1", "2", "10"))
KNOWN = {("app", version): migration(version) for version in ("1", "2", "10")}


def test_rollback_takes_the_last_one_the_named_one_or_all_after() -> None:
    """Newest first; `0` is everything."""

    def chosen(**how: str) -> list[str]:
        return [one.version for one in decide_rollback(APPLIED, KNOWN, **how)]  # type: ignore[arg-type]

    assert chosen() == ["10"]
    assert chosen(version="2") == ["2"]
    assert chosen(to="1") == ["10", "2"]
    assert chosen(to="0") == ["10", "2", "1"]


def test_rollback_refuses_what_others_depend_on() -> None:
    """The dependent migration is named; a version that is not applied is nothing to undo."""
    known = KNOWN | {("app", "10"): migration("10", depends=(("app", "2"),))}
    with pytest.raises(UsageError, match=r"app/10 depends on it"):
        decide_rollback(APPLIED, known, version="2")
    assert decide_rollback(APPLIED, KNOWN, version="7") == ()


@given(st.sets(st.sampled_from(["1", "2", "3", "4", "5"])))
def test_applying_what_is_pending_leaves_nothing_pending(have: set[str]) -> None:
    """Whatever was applied, in whatever order: one run brings the tenant to the end."""
    five = catalogue(*(migration(version) for version in ("1", "2", "3", "4", "5")))
    applied = tuple(migration(version).ref for version in sorted(have))
    first = decide(applied, five, Options(out_of_order=True))
    after = applied + tuple(one.ref for one in first.pending)
    assert decide(after, five, Options(out_of_order=True)).pending == ()
    assert {one.version for one in after} == {"1", "2", "3", "4", "5"}
