"""`import --from TOOL`: what each tool's history table says is counted as applied, or refused."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from ledger.errors import UsageError
from ledger.scripts.foreign import SOURCES
from tests.conftest import MakeDatabase
from tests.place import MakePlace, Place
from tests.servers import Server, query


class Known(NamedTuple):
    """A tool's table as the tool makes it, with two migrations applied, and what unsettles it."""

    tool: str
    table: str
    rows: tuple[str, ...]
    unsettled: str = ""
    options: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("sqlite", "mariadb")
    files: tuple[str, str, str] = ("001_first.sql", "002_second.sql", "003_third.sql")


FLYWAY = "INSERT INTO flyway_schema_history VALUES"
ATLAS = "INSERT INTO atlas_schema_revisions VALUES"
TOOLS = (
    Known(
        "golang-migrate",
        "CREATE TABLE schema_migrations (version BIGINT NOT NULL PRIMARY KEY, dirty BOOLEAN NOT NULL)",
        ("INSERT INTO schema_migrations VALUES (2, 0)",),
        "UPDATE schema_migrations SET dirty = 1",
    ),
    Known(
        "dbmate",
        "CREATE TABLE schema_migrations (version VARCHAR(128) PRIMARY KEY)",
        ("INSERT INTO schema_migrations VALUES ('001'), ('002')",),
    ),
    Known(
        "goose",
        "CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY, version_id BIGINT NOT NULL,"
        " is_applied BOOLEAN NOT NULL, tstamp TIMESTAMP NULL)",
        (
            "INSERT INTO goose_db_version VALUES (1, 0, 1, NULL), (2, 1, 1, NULL), (3, 2, 1, NULL),"
            " (4, 3, 1, NULL), (5, 3, 0, NULL)",
        ),
    ),
    Known(
        "flyway",
        "CREATE TABLE flyway_schema_history (installed_rank INT PRIMARY KEY, version VARCHAR(50),"
        " description VARCHAR(200), type VARCHAR(20), script VARCHAR(1000), checksum INT,"
        " installed_by VARCHAR(100), installed_on TIMESTAMP NULL, execution_time INT, success BOOLEAN)",
        (
            f"{FLYWAY} (1, '1', '<< Baseline >>', 'BASELINE', 'b', NULL, 'ana', NULL, 0, 1)",
            f"{FLYWAY} (2, '2', 'second', 'SQL', 'V2__second.sql', 7, 'ana', NULL, 0, 1)",
            f"{FLYWAY} (3, NULL, 'views', 'SQL', 'R__views.sql', 7, 'ana', NULL, 0, 1)",
        ),
        "UPDATE flyway_schema_history SET success = 0 WHERE installed_rank = 2",
    ),
    Known(
        "liquibase",
        "CREATE TABLE DATABASECHANGELOG (ID VARCHAR(255), AUTHOR VARCHAR(255), FILENAME VARCHAR(255),"
        " ORDEREXECUTED INT, EXECTYPE VARCHAR(10))",
        (
            "INSERT INTO DATABASECHANGELOG VALUES ('1', 'ana', 'db/changelog.sql', 1, 'EXECUTED'),"
            " ('x', 'ana', 'db/002_second.sql', 2, 'MARK_RAN')",
            "CREATE TABLE DATABASECHANGELOGLOCK (ID INT PRIMARY KEY, LOCKED BOOLEAN)",
            "INSERT INTO DATABASECHANGELOGLOCK VALUES (1, 0)",
        ),
        "UPDATE DATABASECHANGELOGLOCK SET LOCKED = 1",
    ),
    Known(
        "atlas",
        "CREATE TABLE atlas_schema_revisions (version VARCHAR(255) PRIMARY KEY, type BIGINT,"
        " applied BIGINT, total BIGINT, error TEXT)",
        (
            f"{ATLAS} ('.atlas_cloud_identifier', 2, 0, 0, NULL)",
            f"{ATLAS} ('001', 2, 3, 3, ''), ('002', 2, 1, 1, NULL)",
        ),
        "UPDATE atlas_schema_revisions SET applied = 0, error = 'no' WHERE version = '002'",
    ),
    Known(
        "alembic",
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
        ("INSERT INTO alembic_version VALUES ('ae1027a6acf')",),
        "INSERT INTO alembic_version VALUES ('1975ea83b712')",
        files=("001_first.sql", "002_ae1027a6acf_second.sql", "003_third.sql"),
    ),
    Known(
        "django",
        "CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app VARCHAR(255), name VARCHAR(255))",
        (
            "INSERT INTO django_migrations VALUES (1, 'auth', '0009_other'), (2, 'shop', '0001_first'),"
            " (3, 'shop', '0002_second')",
        ),
        options=("--scope", "shop"),
    ),
    Known(
        "yoyo",
        "CREATE TABLE _yoyo_migration (migration_hash VARCHAR(64) PRIMARY KEY,"
        " migration_id VARCHAR(255), applied_at_utc TIMESTAMP NULL)",
        (
            "INSERT INTO _yoyo_migration VALUES ('a', '001.first', NULL), ('b', '002_02_x-y', NULL)",
            "CREATE TABLE yoyo_lock (locked INT, ctime TIMESTAMP NULL, pid INT)",
        ),
        "INSERT INTO yoyo_lock VALUES (1, NULL, 7)",
        files=("001_first.sql", "002.02_second.sql", "003_third.sql"),
    ),
    Known(
        "prisma",
        "CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY, migration_name VARCHAR(255),"
        " started_at VARCHAR(40), finished_at VARCHAR(40), rolled_back_at VARCHAR(40))",
        (
            "INSERT INTO _prisma_migrations VALUES ('a', '001_first', '1', '2', NULL),"
            " ('b', '002_second', '3', NULL, '4'), ('c', '002_second', '5', '6', NULL)",
        ),
        "UPDATE _prisma_migrations SET finished_at = NULL WHERE id = 'c'",
    ),
    Known(
        "sqlite-migrate",
        "CREATE TABLE _sqlite_migrations (migration_set TEXT, name TEXT, applied_at TEXT)",
        (
            "INSERT INTO _sqlite_migrations VALUES ('creatures', 'first', ''),"
            " ('creatures', 'm002_other_name', '')",
        ),
        engines=("sqlite",),
    ),
)
CASES = [(known, engine) for known in TOOLS for engine in known.engines]


def prepared(place: Place, known: Known) -> Place:
    """Three migrations on disk, of which the tool applied two on both tenants."""
    for file in known.files:
        place.migration(file, f"CREATE TABLE {file[4:].split('.')[0].split('_')[-1]} (id INTEGER);")
    for name in place.names:
        place.run(name, known.table, *known.rows)
        place.run(name, "CREATE TABLE first (id INTEGER)", "CREATE TABLE second (id INTEGER)")
    return place


@pytest.mark.parametrize(("known", "engine"), CASES, ids=lambda one: getattr(one, "tool", one))
def test_what_the_tool_applied_counts_as_applied(
    known: Known, engine: str, make_place: MakePlace
) -> None:
    """The plan touches nothing; the import is an event; only the rest is pending, and migrates; a
    second import has nothing to do."""
    place = prepared(make_place(engine), known)
    first, second = place.names
    asked = ("import", "--from", known.tool, "--all-tenants", *known.options)
    plan = place.ok(*asked, "--dry-run", "--format", "json").json()
    versions = [file.split("_")[0] for file in known.files]
    wanted = [f"app/{version}" for version in versions[:2]]
    assert [row["migrations"] for row in plan] == [wanted, wanted]
    assert not (place.folder / "ledger.db").exists()

    assert "2 imported" in place.ok(*asked, "-y").out
    body = place.events(first, "imported")[0]["body"]
    assert [f"app/{one['version']}" for one in body["migrations"]] == wanted
    assert body["source"].startswith(f"{known.tool}: ")
    rows = place.ok("status", "--format", "json").json()["tenants"]
    assert [row["pending"] for row in rows] == [versions[2:], versions[2:]]
    assert "Nothing to do" in place.ok(*asked, "-y").out
    place.ok("migrate", "--all-tenants")
    assert "third" in place.objects(second)
    place.ok("verify")


UNSETTLED = [(known, engine) for known, engine in CASES if known.unsettled]


@pytest.mark.parametrize(("known", "engine"), UNSETTLED, ids=lambda one: getattr(one, "tool", one))
def test_an_unsettled_history_is_refused(known: Known, engine: str, make_place: MakePlace) -> None:
    """A dirty flag, a failed row, a held lock or two heads: that tenant is named, the other goes on."""
    place = prepared(make_place(engine), known)
    first, second = place.names
    place.run(first, known.unsettled)
    asked = ("import", "--from", known.tool, "--all-tenants", *known.options)
    assert place.ended(*asked, "--dry-run").code == 4
    ended = place.ended(*asked, "-y", "--format", "json")
    assert ended.code == 3
    outcomes = {one["tenant"]: one for one in ended.json()["outcomes"]}
    assert outcomes[second]["result"] == "imported" and outcomes[first]["message"]
    status = place.ok("status", "--tenant", first, "--format", "json").json()
    assert status["tenants"][0]["applied"] == []


@pytest.fixture(params=("sqlite", "mariadb"))
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Tenants that dbmate migrated."""
    made = make_place(request.param)
    return prepared(made, next(known for known in TOOLS if known.tool == "dbmate"))


def test_every_tool_is_tested() -> None:
    """Each of the known tools has its table here; Sqitch's registry has tests of its own."""
    assert {known.tool for known in TOOLS} | {"sqitch"} == set(SOURCES)


def test_an_unknown_version_is_refused(place: Place) -> None:
    """It is named, with what to do; nothing is counted of that tenant."""
    place.run(place.names[0], "INSERT INTO schema_migrations VALUES ('20190101')")
    ended = place.ended("import", "--from", "dbmate", "--all-tenants", "-y")
    assert ended.code == 3 and "20190101" in ended.out and "1 imported" in ended.out


def test_another_tools_table_is_refused(place: Place) -> None:
    """dbmate and golang-migrate call theirs alike, and mean another thing by its rows."""
    first, second = place.names
    place.run(second, "ALTER TABLE schema_migrations ADD COLUMN dirty INTEGER")
    for tool, tenant, said in (
        ("golang-migrate", first, "no column dirty"),
        ("dbmate", second, "a column dirty"),
    ):
        ended = place.ended("import", "--from", tool, "--tenant", tenant, "-y")
        assert ended.code == 3 and said in ended.out and "another tool" in ended.out
        status = place.ok("status", "--tenant", tenant, "--format", "json").json()
        assert status["tenants"][0]["applied"] == []


@pytest.mark.parametrize(
    ("version", "kind", "applied"),
    [
        ("2", "BASELINE", ["001", "002"]),
        ("1.5", "BASELINE", ["001"]),
        ("0", "BASELINE", []),
        ("2", "SQL_BASELINE", ["001", "002"]),
        (None, "SCHEMA", []),
    ],
)
def test_a_flyway_baseline_stands_for_all_before_it(
    version: str | None, kind: str, applied: list[str], place: Place
) -> None:
    """Whether a file has its version or not; the row of a schema's creation is no migration."""
    flyway = next(known for known in TOOLS if known.tool == "flyway")
    first = place.names[0]
    said = "NULL" if version is None else f"'{version}'"
    place.run(
        first, flyway.table, f"{FLYWAY} (1, {said}, 'x', '{kind}', 'b', NULL, 'ana', NULL, 0, 1)"
    )
    (plan,) = place.ok(
        *("import", "--from", "flyway", "--tenant", first, "--dry-run", "--format", "json")
    ).json()
    assert plan["migrations"] == [f"app/{one}" for one in applied]
    assert plan["notes"] == [] and plan["problem"] == ""


def test_a_baseline_of_several_sets_is_chosen(place: Place) -> None:
    """Which of them it is of, nobody knows."""
    flyway = next(known for known in TOOLS if known.tool == "flyway")
    first = place.names[0]
    place.run(
        first, flyway.table, f"{FLYWAY} (1, '1.5', 'x', 'BASELINE', 'b', NULL, 'ana', NULL, 0, 1)"
    )
    place.terminal.write("migrations/more/001_other.sql", "CREATE TABLE other (id INTEGER);")
    config = place.folder / "ledger.toml"
    config.write_text(config.read_text().replace("migrations/app", "migrations"))
    asked = ("import", "--from", "flyway", "--tenant", first, "--dry-run", "--format", "json")
    (plan,) = place.ended(*asked).json()
    assert "app, more" in plan["problem"] and "--set" in plan["hint"]
    (plan,) = place.ok(*asked, "--set", "more").json()
    assert plan["migrations"] == ["more/001"]


def test_mistakes(place: Place) -> None:
    """A tool that is not known, a missing table, a name that is no name, an unknown set."""
    asked = ("--tenant", place.names[0], "-y")
    ended = place.ended("import", "--from", "dbmat", *asked)
    assert ended.code == 2 and "dbmate" in ended.err
    ended = place.ended("import", "--from", "flyway", *asked)
    assert ended.code == 3 and "no table" in ended.out and "--table" in ended.out
    assert place.ended("import", "--from", "dbmate", "--table", "x y", *asked).code == 2
    assert place.ended("import", "--from", "dbmate", "--set", "nope", *asked).code == 2
    assert place.ended("import", "--from", "dbmate", "--tenant", place.names[0]).code == 2


def test_another_table_name(place: Place) -> None:
    """--table names it where the tool was told to use another one."""
    place.run(place.names[0], "ALTER TABLE schema_migrations RENAME TO shop_versions")
    place.ok(
        *("import", "--from", "dbmate", "--table", "shop_versions"),
        *("--tenant", place.names[0], "-y"),
    )


async def test_from_python(place: Place) -> None:
    """Plan and import as values."""
    first = place.names[0]
    (plan,) = await place.open().plan_import(first, source="dbmate")
    assert plan.migrations == ("app/001", "app/002") and plan.problem == ""
    assert (await place.open().import_from(first, source="dbmate")).summary == {"imported": 1}
    (plan,) = await place.open().plan_import(first, source="dbmate")
    assert plan.migrations == () and plan.known == ("app/001", "app/002")
    with pytest.raises(UsageError, match="no tool"):
        await place.open().plan_import(first, source="nothing")


SQITCH = "CREATE TABLE changes (change_id VARCHAR(40), `change` VARCHAR(255), project VARCHAR(255), committed_at INT)"
CHANGES = "INSERT INTO changes VALUES ('a', 'first', 'shop', 1), ('b', 'second', 'shop', 2)"


def test_sqitch_on_sqlite_keeps_its_registry_in_a_file_beside(make_place: MakePlace) -> None:
    """`sqitch.db` in the tenant's folder; changes are found by their names."""
    place = make_place("sqlite")
    for file in ("001_first.sql", "002_second.sql", "003_third.sql"):
        place.migration(file, f"CREATE TABLE {file[4:-4]} (id INTEGER);")
    (place.folder / "data/acme.db").rename(place.folder / "only.db")
    (place.folder / "data/beta.db").unlink()
    place.run("sqitch", SQITCH, CHANGES)
    (place.folder / "data/sqitch.db").rename(place.folder / "sqitch.db")
    config = place.folder / "ledger.toml"
    config.write_text(config.read_text().replace("data/*.db", "only.db"))
    place.ok("import", "--from", "sqitch", "--all-tenants", "-y")
    rows = place.ok("status", "--format", "json").json()["tenants"]
    assert rows[0]["pending"] == ["003"]


def test_sqitch_on_a_server_keeps_its_registry_in_a_database(
    mariadb: Server, make_database: MakeDatabase, make_place: MakePlace
) -> None:
    """`sqitch` by default, another one with --registry; a missing one is refused."""
    place = make_place("mariadb")
    for file in ("001_first.sql", "002_second.sql", "003_third.sql"):
        place.migration(file, f"CREATE TABLE {file[4:-4]} (id INTEGER);")
    registry = make_database(mariadb, "registry")
    query(mariadb, SQITCH, database=registry)
    query(mariadb, CHANGES, database=registry)
    asked = ("import", "--from", "sqitch", "--tenant", place.names[0])
    ended = place.ended(*asked, "-y", "--registry", f"{registry}_not")
    assert ended.code == 3 and "no table" in ended.out
    place.ok(*asked, "-y", "--registry", registry)
    rows = place.ok("status", "--tenant", place.names[0], "--format", "json").json()["tenants"]
    assert rows[0]["applied"] == ["001", "002"]
