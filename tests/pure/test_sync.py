"""A desired schema beside what is there: what can be added, what is drift, and which types are wider."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.dialects import dialect_of
from ledger.dialects.sqlite.types import affinity
from ledger.schema import Column, ForeignKey, Index, Schema, Table
from ledger.sync.drift import sync_drift
from ledger.sync.gap import as_drift, gap

MYSQL = dialect_of("mysql")

WIDER = [
    ("tinyint(4)", "int(11)"),
    ("int unsigned", "bigint unsigned"),
    ("int(10) unsigned", "bigint(20)"),
    ("varchar(20)", "varchar(200)"),
    ("char(2)", "varchar(2)"),
    ("varchar(100)", "text"),
    ("text", "mediumtext"),
    ("varbinary(9)", "varbinary(10)"),
    ("blob", "longblob"),
    ("decimal(10,2)", "decimal(12,4)"),
    ("datetime", "datetime(6)"),
    ("enum('a','b')", "enum('a','b','it''s')"),
    ("float", "double"),
    ("bit(1)", "bit(8)"),
]
SAME = [("int(11)", "int"), ("int(11)", "int(4)"), ("bigint(20) unsigned", "bigint unsigned")]
OTHERS = [
    ("int", "bigint unsigned"),
    ("varchar(20)", "int"),
    ("varchar(100)", "tinytext"),
    ("varchar(10)", "char(20)"),
    ("binary(4)", "binary(8)"),
    ("decimal(10,2)", "decimal(11,4)"),
    ("enum('a','b')", "enum('b','a','c')"),
    ("date", "datetime"),
    ("text", "varchar(100)"),
    ("double", "float"),
    ("varchar(10)", "varbinary(40)"),
    ("json", "longtext"),
]


def column(kind: str, **more: object) -> Column:
    """A column `a`."""
    return Column(name="a", type=kind, nullable=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("old", "new"), WIDER)
def test_wider_goes_one_way(old: str, new: str) -> None:
    """What holds every value of the other is wider, and the other way round never is."""
    assert MYSQL.relation(column(old), column(new), in_key=False) == "wider"
    assert MYSQL.relation(column(new), column(old), in_key=False) == "differs"


@pytest.mark.parametrize(("old", "new"), SAME)
def test_a_display_width_does_not_count(old: str, new: str) -> None:
    """Integers of the same size and sign are the same."""
    assert MYSQL.relation(column(old), column(new), in_key=False) == "same"


@pytest.mark.parametrize(("old", "new"), OTHERS)
def test_what_is_not_known_to_be_wider_is_left_alone(old: str, new: str) -> None:
    """Narrower, another kind, or anything unknown differs."""
    assert MYSQL.relation(column(old), column(new), in_key=False) == "differs"


def test_a_generated_column_is_never_widened() -> None:
    """Its definition is more than its type."""
    live = column("varchar(10)", extra="STORED GENERATED AS (b)")
    assert MYSQL.relation(live, column("varchar(20)"), in_key=False) == "differs"


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("BIGINT", "INTEGER"),
        ("CHARINT", "INTEGER"),
        ("VARCHAR(9)", "TEXT"),
        ("", "BLOB"),
        ("DOUBLE PRECISION", "REAL"),
        ("BOOLEAN", "NUMERIC"),
    ],
)
def test_affinity_is_sqlites(declared: str, expected: str) -> None:
    """The order of the rules of datatype3 counts."""
    assert affinity(declared) == expected


_NAMES = st.sampled_from(["a", "b", "c", "d"])
_TYPES = st.sampled_from(["int", "bigint", "varchar(9)", "varchar(99)", "text", "date"])
_COLUMNS = st.dictionaries(
    _NAMES,
    st.builds(
        lambda kind, nullable, default: Column(
            name="", type=kind, nullable=nullable, default=default
        ),
        _TYPES,
        st.booleans(),
        st.sampled_from([None, "1", "'x'"]),
    ),
    min_size=1,
)


@st.composite
def _schemas(draw: st.DrawFn) -> Schema:
    tables = []
    for name in sorted(draw(st.sets(st.sampled_from(["t", "u", "v"])))):
        columns = draw(_COLUMNS)
        indexes = tuple(
            Index(name=index, columns=tuple(sorted(draw(st.sets(_NAMES, min_size=1)))))
            for index in sorted(draw(st.sets(st.sampled_from(["i", "j"]))))
        )
        keys = tuple(
            ForeignKey(name="f", columns=("a",), parent=parent, parent_columns=("id",))
            for parent in sorted(draw(st.sets(st.sampled_from(["p", "q"]))))
        )
        tables.append(
            Table(
                name=name,
                columns=tuple(
                    Column(name=key, type=one.type, nullable=one.nullable, default=one.default)
                    for key, one in sorted(columns.items())
                ),
                indexes=indexes,
                foreign_keys=keys,
            )
        )
    return Schema(tables=tuple(tables))


@given(_schemas())
def test_what_is_as_desired_lacks_nothing(schema: Schema) -> None:
    """A schema beside itself has no addition and no drift."""
    assert gap(schema, schema, MYSQL, fold_tables=False).additions == ()
    assert as_drift(gap(schema, schema, MYSQL, fold_tables=False)) == ()


@given(_schemas(), _schemas())
def test_what_is_there_is_never_added_again(desired: Schema, live: Schema) -> None:
    """Every addition is missing or too narrow, and nothing is reported both as addition and as drift."""
    found = gap(desired, live, MYSQL, fold_tables=False)
    there = {table.name: table for table in live.tables}
    for one in found.additions:
        if one.kind == "table":
            assert one.table not in there
            continue
        names = {column.name for column in there[one.table].columns}
        assert (one.name in names) == (one.kind == "type") or one.kind == "index"
    added = {(one.kind, f"{one.table}.{one.name}") for one in found.additions if one.kind != "type"}
    assert not added & {(one.kind, one.name) for one in found.drift}


@given(_schemas(), _schemas())
def test_every_difference_is_reported(desired: Schema, live: Schema) -> None:
    """No addition and no drift: then each desired column is there with its type, null and default."""
    if as_drift(gap(desired, live, MYSQL, fold_tables=False)):
        return
    there = {table.name: {one.name: one for one in table.columns} for table in live.tables}
    for table in desired.tables:
        for one in table.columns:
            assert there[table.name][one.name] == one


def test_a_tenant_that_is_as_desired_has_no_event() -> None:
    """Only a difference that the additions leave is recorded."""
    assert sync_drift("app/1", ()) == ()
