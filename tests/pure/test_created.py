"""What migrations created and what was there before, and the order in which to drop it."""

from __future__ import annotations

import pytest

from ledger.dialects.steps import DialectName
from ledger.errors import TenantError
from ledger.reset.dropping import decide_drops
from ledger.schema import Column, Definition, ForeignKey, Index, Schema, Table
from ledger.scripts.created import Owned, Ownership


def owned(dialect: DialectName, *statements: str, existed: int = 0) -> set[str]:
    """`KIND NAME` of what these statements made; the `existed`-th found its object there."""
    ownership = Ownership(dialect)
    for number, sql in enumerate(statements, start=1):
        ownership.step(sql, existed=number == existed)
    return {f"{one.kind} {one.name}" for one in ownership.owned}


BOTH: tuple[DialectName, ...] = ("sqlite", "mysql")


@pytest.mark.parametrize("dialect", BOTH)
def test_what_is_created_is_owned_until_it_is_dropped(dialect: DialectName) -> None:
    """Tables, views, triggers and indexes; a dropped table takes its triggers and indexes with it."""
    made = (
        "CREATE TABLE a (id INT)",
        "CREATE TABLE IF NOT EXISTS b (id INT)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE INDEX i ON a (id)",
        "CREATE TRIGGER t AFTER INSERT ON b FOR EACH ROW DELETE FROM a",
    )
    assert owned(dialect, *made) == {"table a", "table b", "view v", "index i", "trigger t"}
    assert owned(dialect, *made, "DROP TABLE a") == {"table b", "view v", "trigger t"}
    assert owned(dialect, *made, "DROP VIEW v", "DROP TABLE b") == {"table a", "index i"}


@pytest.mark.parametrize("dialect", BOTH)
def test_a_rename_is_followed(dialect: DialectName) -> None:
    """The object is owned under its last name."""
    assert owned(dialect, "CREATE TABLE a (id INT)", "ALTER TABLE a RENAME TO b") == {"table b"}


@pytest.mark.parametrize("dialect", BOTH)
def test_a_rebuilt_table_of_the_application_stays_the_applications(dialect: DialectName) -> None:
    """Create a new one, drop the old, take its name; or move the old away and make it anew."""
    rebuilt = ("CREATE TABLE n (id INT)", "DROP TABLE users", "ALTER TABLE n RENAME TO users")
    assert owned(dialect, *rebuilt) == set()
    moved = ("ALTER TABLE users RENAME TO old", "CREATE TABLE users (id INT)", "DROP TABLE old")
    assert owned(dialect, *moved) == set()


def test_a_swap_in_one_statement_is_followed() -> None:
    """RENAME TABLE with several pairs is read pair by pair, whosever the table is."""
    swap = "RENAME TABLE t TO t_old, t_new TO t"
    assert owned("mysql", "CREATE TABLE t_new (id INT)", swap, "DROP TABLE t_old") == set()
    ours = ("CREATE TABLE t (id INT)", "CREATE TABLE t_new (id INT)", swap, "DROP TABLE t_old")
    assert owned("mysql", *ours) == {"table t"}


def test_what_if_not_exists_found_is_not_owned() -> None:
    """Nor what is said of it later; what is altered without having been made is not owned either."""
    found = ("CREATE TABLE IF NOT EXISTS a (id INT)", "ALTER TABLE a ADD COLUMN b INT")
    assert owned("sqlite", *found, existed=1) == set()
    assert owned("sqlite", "ALTER TABLE a ADD COLUMN b INT", "CREATE TEMP TABLE q (id)") == set()


def test_what_is_in_another_database_is_not_owned() -> None:
    """Neither MySQL's `other.t` nor SQLite's `temp.t` may be taken for the tenant's own `t`."""
    assert owned("mysql", "CREATE TABLE other.t (id INT)") == set()
    assert owned("sqlite", "CREATE TABLE temp.t (id)") == set()
    assert owned("sqlite", "CREATE TABLE main.t (id)") == {"table t"}
    assert owned("mysql", "CREATE TABLE main.t (id INT)") == set()


def test_indexes_of_one_name_are_told_apart_by_their_tables() -> None:
    """On MySQL two tables may each have an index `i`."""
    both = ("CREATE INDEX i ON a (x)", "CREATE INDEX i ON b (x)", "DROP INDEX i ON a")
    ownership = Ownership("mysql")
    for sql in both:
        ownership.step(sql)
    assert ownership.owned == (Owned(kind="index", name="i", table="b"),)
    assert owned("sqlite", "CREATE INDEX i ON a (x)", "DROP INDEX i") == set()


def test_version_json_does_not_own_what_was_there_before() -> None:
    """It adds names, but never one that the statements show to be the application's."""
    ownership = Ownership("mysql")
    ownership.step("ALTER TABLE users ADD COLUMN x INT")
    ownership.claim("table", "users")
    ownership.claim("table", "by_python")
    assert ownership.owned == (Owned(kind="table", name="by_python"),)
    assert ownership.foreign == ("users",)


def table(name: str, *parents: str) -> Table:
    """A table with foreign keys."""
    return Table(
        name=name,
        columns=(Column(name="id", type="INT", nullable=False),),
        indexes=(Index(name=f"{name}_i", columns=("id",)),),
        foreign_keys=tuple(
            ForeignKey(name="", columns=("id",), parent=parent, parent_columns=("id",))
            for parent in parents
        ),
    )


def test_children_go_before_parents_and_cycles_end() -> None:
    """Views first; a cycle is cut somewhere; indexes of dropped tables are not named."""
    schema = Schema(
        tables=(
            table("a"),
            table("b", "a"),
            table("c", "b", "c"),
            table("x", "y"),
            table("y", "x"),
        ),
        definitions=(Definition(kind="view", name="v", text=""),),
    )
    made = [Owned(kind="table", name=name) for name in ("a", "b", "c", "x", "y", "gone")]
    made += [Owned(kind="index", name="a_i", table="a"), Owned(kind="view", name="v")]
    names = [one.name for one in decide_drops(made, schema).objects]
    assert names[0] == "v" and sorted(names[1:]) == ["a", "b", "c", "x", "y"]
    assert names.index("c") < names.index("b") < names.index("a")


def test_a_reference_from_outside_refuses_all_of_it() -> None:
    """The table that refers and the one it refers to are named."""
    schema = Schema(tables=(table("a"), table("theirs", "a")))
    with pytest.raises(TenantError, match=r"theirs.*refers to table a"):
        decide_drops([Owned(kind="table", name="a")], schema)


def test_a_prefix_and_case_are_told_apart() -> None:
    """Neutral names stand for the tenant's own; case counts where the database tells it."""
    schema = Schema(tables=(table("{prefix}a"), table("{prefix}b")))
    made = [Owned(kind="table", name=name) for name in ("wp_a", "wp_2_b", "WP_B")]
    assert [one.name for one in decide_drops(made, schema, prefix="wp_").objects] == ["wp_a"]
    folded = decide_drops(made, schema, prefix="wp_", same_case=False).objects
    assert [one.name for one in folded] == ["wp_a", "WP_B"]
