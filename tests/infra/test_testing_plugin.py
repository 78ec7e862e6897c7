"""The pytest plugin, as a project that installed the package sees it: found by itself, in its own process."""

from __future__ import annotations

from typing import Any

import pytest

from tests.place import ENGINES
from tests.servers import Server, queries

pytest_plugins = ["pytester"]

FIRST = """
CREATE TABLE notes (id INTEGER PRIMARY KEY, body VARCHAR(100) NOT NULL);
CREATE INDEX idx_body ON notes (body);
-- migrate:down
DROP TABLE notes;
"""
SECOND = """
ALTER TABLE notes ADD COLUMN {site}_rating INTEGER;
-- migrate:down
ALTER TABLE notes DROP COLUMN {site}_rating;
"""
INI = "[pytest]\nledger_variables = site=main\n"


@pytest.fixture(params=ENGINES)
def arguments(request: pytest.FixtureRequest) -> list[str]:
    """The command line that makes `ledger_tenant` a tenant on this engine alone."""
    if request.param == "sqlite":
        return ["-o", "ledger_engines=sqlite"]
    server: Server = request.getfixturevalue("mariadb")
    return ["-o", "ledger_engines=mysql", f"--ledger-mysql={url_of(server)}"]


def url_of(server: Server) -> str:
    password = f":{server.password}" if server.password else ""
    url = f"mysql://{server.url.user}{password}@{server.url.host}:{server.url.port}/"
    return url + (f"?unix_socket={server.url.unix_socket}" if server.url.unix_socket else "")


def run(pytester: pytest.Pytester, arguments: list[str], tests: str, **files: str) -> Any:
    """Run a project's tests with two migrations (or others), in a process of its own."""
    pytester.makeini(INI)
    folder = pytester.mkdir("migrations")
    for name, text in {"001_notes": FIRST, "002_rating": SECOND, **files}.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    pytester.makepyfile(tests)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_a_tenant_is_migrated_and_looked_at(
    pytester: pytest.Pytester, arguments: list[str]
) -> None:
    """migrated_to goes forward and back; the assertions say what is there; data can be put in between."""
    result = run(
        pytester,
        arguments,
        """
        import pytest

        def test_versions(ledger_tenant):
            ledger_tenant.migrated_to("001")
            ledger_tenant.execute("INSERT INTO notes (id, body) VALUES (1, 'kept')")
            assert ledger_tenant.migrated_to("002") is ledger_tenant
            assert [one.partition("/")[2] for one in ledger_tenant.applied()] == ["001", "002"]
            assert ledger_tenant.query("SELECT body, main_rating FROM notes") == [("kept", None)]
            assert ledger_tenant.assert_table("notes").name == "notes"
            ledger_tenant.assert_column("notes", "body", nullable=False)
            ledger_tenant.assert_index("notes", "idx_body", columns=["body"], unique=False)
            ledger_tenant.migrated_to("001").assert_column("notes", "main_rating", exists=False)
            ledger_tenant.migrated_to("0").assert_table("notes", exists=False)

        async def in_a_loop(tenant):
            tenant.migrate()

        def test_in_a_running_loop(ledger_tenant):
            import anyio
            anyio.run(in_a_loop, ledger_tenant)
            ledger_tenant.assert_column("notes", "main_rating")

        def test_what_is_not_there_fails(ledger_tenant):
            ledger_tenant.migrated_to("001")
            with pytest.raises(AssertionError, match="has no table nothing; it has notes"):
                ledger_tenant.assert_table("nothing")
            with pytest.raises(AssertionError, match="no column rating; it has body, id"):
                ledger_tenant.assert_column("notes", "rating")
            with pytest.raises(AssertionError, match="idx_body is over"):
                ledger_tenant.assert_index("notes", "idx_body", columns=["id"])
            with pytest.raises(AssertionError, match="nullable: False"):
                ledger_tenant.assert_column("notes", "body", nullable=True)
            with pytest.raises(AssertionError, match="not XML"):
                ledger_tenant.assert_column("notes", "body", type="XML")
        """,
    )
    result.assert_outcomes(passed=3)


def test_the_ready_test_walks_all_migrations(
    pytester: pytest.Pytester, arguments: list[str]
) -> None:
    """Good migrations pass, and the walk says which have no way down."""
    result = run(
        pytester,
        arguments,
        """
        from ledger.testing import MigrationTests

        class TestMigrations(MigrationTests):
            pass

        class TestStrictly(MigrationTests):
            require_down = True

        def test_the_result(ledger_tenant):
            walked = ledger_tenant.walk()
            assert [one.partition("/")[2] for one in walked.both_ways] == ["001", "002"]
            assert [one.partition("/")[2] for one in walked.only_up] == ["003"]
        """,
        **{"003_last": "CREATE TABLE last (id INTEGER PRIMARY KEY);"},
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*003 has no down section*"])


def test_a_down_that_forgets_something_is_found(
    pytester: pytest.Pytester, arguments: list[str]
) -> None:
    """The failure names the migration and what was left behind."""
    result = run(
        pytester,
        arguments,
        """
        from ledger.testing import MigrationTests

        class TestMigrations(MigrationTests):
            pass
        """,
        **{
            "003_two": "CREATE TABLE one (id INTEGER PRIMARY KEY);\n"
            "CREATE TABLE two (id INTEGER PRIMARY KEY);\n-- migrate:down\nDROP TABLE one;\n"
        },
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*003: down leaves a difference:", "*table two added*"])


def test_a_migration_that_fails_says_why(pytester: pytest.Pytester, arguments: list[str]) -> None:
    """migrated_to raises with the product's own message."""
    result = run(
        pytester,
        arguments,
        """
        def test_it(ledger_tenant):
            ledger_tenant.migrated_to("003")
        """,
        **{"003_bad": "INSERT INTO nowhere VALUES (1);"},
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError:*nowhere*"])


def test_databases_are_dropped_again(pytester: pytest.Pytester, mariadb: Server) -> None:
    """Whatever a test does, its database is gone afterwards; the environment names the server, too."""
    pytester.makeconftest(f"import os\nos.environ['LEDGER_TEST_MARIADB'] = {url_of(mariadb)!r}\n")
    result = run(
        pytester,
        [],
        """
        from pathlib import Path

        def test_it(ledger_tenant):
            ledger_tenant.migrate()
            with Path("names").open("a") as names:
                names.write(f"{ledger_tenant.engine} {ledger_tenant.name}\\n")
            raise RuntimeError
        """,
    )
    result.assert_outcomes(failed=2)
    engines, names = zip(
        *(line.split() for line in (pytester.path / "names").read_text().splitlines()), strict=True
    )
    assert engines == ("sqlite", "mysql")
    left = queries(mariadb, [f"SHOW DATABASES LIKE '{names[1]}'"])
    assert not left


def test_without_a_server_the_fixture_says_what_to_give(pytester: pytest.Pytester) -> None:
    """mysql_tenant fails with the option's name; ledger_tenant is SQLite alone."""
    result = run(
        pytester,
        [],
        """
        import os
        os.environ.pop("LEDGER_TEST_MYSQL", None), os.environ.pop("LEDGER_TEST_MARIADB", None)

        def test_server(mysql_tenant):
            pass

        def test_file(sqlite_tenant):
            sqlite_tenant.migrated_to("002")
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*give --ledger-mysql URL*"])


def test_the_applications_functions(pytester: pytest.Pytester) -> None:
    """`ledger_functions` gives them to the migrations, and to the statements of the tests."""
    pytester.makepyfile(
        app_db="def prepare(connection):\n"
        "    connection.create_function('slugify', 1, str.lower, deterministic=True)\n"
    )
    table = "CREATE TABLE notes (body TEXT, slug AS (slugify(body)));\n"
    ended = run(
        pytester,
        ["-o", "ledger_engines=sqlite", "-o", "ledger_functions=app_db:prepare"],
        """
        def test_it(ledger_tenant):
            ledger_tenant.migrate()
            ledger_tenant.query("INSERT INTO notes (body) VALUES ('Ab')")
            assert ledger_tenant.query("SELECT slug, slugify('X') FROM notes") == [("ab", "x")]
        """,
        **{"001_notes": table},
    )
    ended.assert_outcomes(passed=1)
