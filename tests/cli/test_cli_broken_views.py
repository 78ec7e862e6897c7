"""Views that refer to what is not there, on MariaDB and MySQL: they stop no backup and no way back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_cli_mysql import address
from tests.conftest import MakeDatabase
from tests.programs import Ended
from tests.servers import Server, queries, query


class Place:
    """One tenant, a database or a prefix in one, with migrations that change tables below views."""

    def __init__(self, terminal: Terminal, server: Server, database: str, prefix: str) -> None:
        self.terminal = terminal
        self.server = server
        self.database = database
        self.prefix = prefix
        named = 'password_env = "TEST_PASSWORD"\n' if server.password else ""
        source = 'prefixes = ["wp_"]\ntables = ["*"]' if prefix else 'prefix = ""'
        terminal.write(
            "ledger.toml",
            f'migrations = "migrations"\n[[tenants]]\nmysql = "{address(server, database)}"\n'
            f"{named}{source}\n",
        )

    def migration(self, name: str, text: str) -> None:
        self.terminal.write(f"migrations/{name}", text)

    def run(self, *arguments: str) -> Ended:
        return self.terminal.run(*arguments, env={"TEST_PASSWORD": self.server.password})

    def ok(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.code == 0, ended
        return " ".join((ended.out + ended.err).split())

    def sql(self, *statements: str) -> Any:
        """`@` stands for the prefix."""
        texts = [one.replace("@", self.prefix) for one in statements]
        return queries(self.server, texts, database=self.database)

    def definition(self, view: str) -> str:
        sql = f"SHOW CREATE VIEW {self.prefix}{view}"
        text = str(query(self.server, sql, database=self.database)[0][1])
        return text.replace(f"`{self.database}`.", "")

    def objects(self) -> set[str]:
        rows = query(self.server, "SHOW TABLES", database=self.database)
        names = {str(row[0]).removeprefix(self.prefix) for row in rows}
        return names - {"ledger_marker"}


@pytest.fixture(params=["", "wp_"], ids=["database", "prefix"])
def place(
    request: pytest.FixtureRequest,
    sql_server: Server,
    make_database: MakeDatabase,
    terminal: Terminal,
) -> Place:
    """A tenant with tables `old` and `other` that no migration made."""
    made = Place(terminal, sql_server, make_database(sql_server), request.param)
    made.sql(
        "CREATE TABLE @old (id INT PRIMARY KEY, gone INT)",
        "INSERT INTO @old VALUES (1, 2)",
        "CREATE TABLE @other (id INT PRIMARY KEY)",
    )
    return made


def test_down_steps_mend_what_the_migration_broke(place: Place) -> None:
    """The backup before the rollback keeps the view's definition, and the down steps run."""
    place.sql("CREATE VIEW @seen AS SELECT id FROM @old")
    before = place.definition("seen")
    place.migration(
        "001_old.sql",
        "DROP TABLE {prefix}old;\n-- migrate:down\nCREATE TABLE {prefix}old (id INT PRIMARY KEY);\n",
    )
    place.ok("migrate", "--all-tenants")
    told = place.ok("rollback", "--all-tenants", "-y")
    assert f"of {place.prefix}seen the backup holds the definition alone" in told
    place.sql("SELECT * FROM @seen")
    # Back to the state that was backed up: the view is as broken as it was.
    place.ok("restore", "--all-tenants", "-y")
    assert place.objects() == {"other", "seen"} and place.definition("seen") == before


BREAKS = {
    "table": ("CREATE VIEW @seen AS SELECT id, gone AS `a b` FROM @old WHERE id > 0", "DROP TABLE @old"),
    "column": (
        "CREATE VIEW @seen AS SELECT o.gone, t.id FROM @old o JOIN @other t ON t.id = o.id",
        "ALTER TABLE @old DROP COLUMN gone",
    ),
    "function": (
        "CREATE FUNCTION @f() RETURNS INT DETERMINISTIC RETURN 1;CREATE VIEW @seen AS SELECT @f() AS x FROM @other",
        "DROP FUNCTION @f",
    ),
    "view of a view": (
        "CREATE VIEW @a AS SELECT id, gone FROM @old;"
        "CREATE VIEW @seen AS SELECT gone FROM @a UNION SELECT id FROM @other",
        "DROP TABLE @old",
    ),
}  # fmt: skip


@pytest.mark.parametrize("breaks", BREAKS)
def test_a_migration_mends_what_was_broken_before(place: Place, breaks: str) -> None:
    """`migrate` with a backup goes on; from the backup the view comes back as it was, if it can be."""
    make, spoil = BREAKS[breaks]
    place.sql(*make.split(";"), spoil)
    before = place.definition("seen")
    left = place.objects()
    place.migration(
        "001_mend.sql", "CREATE OR REPLACE VIEW {prefix}seen AS SELECT id FROM {prefix}other;\n"
    )
    told = place.ok("migrate", "--all-tenants")
    assert "the backup holds the definition alone" in told
    assert "all valid" in place.ok("validate")
    place.sql("SELECT * FROM @seen")
    told = place.ok("rollback", "--all-tenants", "-y")
    if breaks == "function":
        # No server makes a view of a function that is not there: it is named, and nothing is silent.
        assert "could not be made again" in told
        (named,) = place.terminal.folder.glob("backups/*/*_pre_001_*")
        assert b"SQL SECURITY DEFINER VIEW" in named.read_bytes()
    else:
        assert place.definition("seen") == before
        assert place.objects() == left
        assert "all valid" in place.ok("validate")


def test_views_that_are_there_as_they_were_stay(place: Place) -> None:
    """A restore does not drop what it could not make again."""
    place.sql(*BREAKS["function"][0].split(";"), BREAKS["function"][1])
    before = place.definition("seen")
    place.migration("001_more.sql", "CREATE TABLE {prefix}more (id INT PRIMARY KEY);\n")
    place.ok("migrate", "--all-tenants")
    told = place.ok("restore", "--all-tenants", "-y")
    assert "could not be made again" not in told
    assert place.definition("seen") == before
    assert place.objects() == {"old", "other", "seen"}


def test_a_rehearsal_has_them_too(place: Place) -> None:
    """On a copy of a tenant with a broken view the pending migration that mends it passes."""
    place.sql(*BREAKS["column"][0].split(";"), BREAKS["column"][1])
    place.migration(
        "001_mend.sql",
        "ALTER TABLE {prefix}old ADD COLUMN gone INT;\n-- migrate:down\nALTER TABLE {prefix}old DROP COLUMN gone;\n",
    )
    place.ok("rehearse", "--all-tenants")
    place.ok("migrate", "--all-tenants")
    place.sql("SELECT * FROM @seen")
    place.ok("rollback", "--all-tenants", "-y")
