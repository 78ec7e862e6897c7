"""Tenants with a table prefix, and what lies beside them: other sites, a second install, plugins' tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import Terminal, sqlite_run
from tests.cli.test_cli_mysql import address
from tests.conftest import MakeDatabase, MakePrivateMariadb
from tests.programs import Ended
from tests.servers import Server, as_server, create_database, queries, query

FIRST = """\
CREATE TABLE {prefix}notes (id INT PRIMARY KEY, words VARCHAR(40));
INSERT INTO {prefix}notes VALUES (1, 'one');
-- migrate:down
DROP TABLE {prefix}notes;
"""
NO_WAY_BACK = "ALTER TABLE {prefix}posts ADD COLUMN note INT;\n"


class Network:
    """A database of WordPress tables, of which the configuration names some prefixes."""

    def __init__(self, terminal: Terminal, server: Server, database: str) -> None:
        self.terminal = terminal
        self.server = server
        self.database = database
        self.environment = {"TEST_PASSWORD": server.password}
        terminal.write("migrations/app/001_notes.sql", FIRST)

    def configure(self, *lines: str, head: str = "") -> None:
        """The configuration's one source."""
        named = ['password_env = "TEST_PASSWORD"'] if self.server.password else []
        url = f'mysql = "{address(self.server, self.database)}"'
        text = "\n".join(
            [f'{head}migrations = "migrations/app"', "[[tenants]]", url, *named, *lines]
        )
        self.terminal.write("ledger.toml", text + "\n")

    def ok(self, *arguments: str) -> Ended:
        return self.terminal.ok(*arguments, env=self.environment)

    def refused(self, *arguments: str) -> str:
        """A command that fails for its tenant; what it said."""
        ended = self.terminal.run(*arguments, env=self.environment)
        assert ended.code == 3, ended
        return " ".join((ended.out + ended.err).split())

    def sql(self, *statements: str) -> Any:
        return queries(self.server, statements, database=self.database)

    def count(self, table: str) -> int:
        return int(
            query(self.server, f"SELECT COUNT(*) FROM `{table}`", database=self.database)[0][0]
        )

    def tables(self) -> set[str]:
        rows = query(self.server, "SHOW TABLES", database=self.database)
        return {str(row[0]) for row in rows}

    def site(self, prefix: str) -> None:
        """Some of a site's tables, with a row each."""
        for name in ("posts", "options"):
            self.sql(
                f"CREATE TABLE {prefix}{name} (id INT PRIMARY KEY)",
                f"INSERT INTO {prefix}{name} VALUES (1)",
            )


@pytest.fixture
def network(sql_server: Server, make_database: MakeDatabase, terminal: Terminal) -> Network:
    """An empty database on each server in turn."""
    return Network(terminal, sql_server, make_database(sql_server, "wp"))


def test_other_sites_of_the_network_stay(network: Network) -> None:
    """`wp_2_…` is site 2's and `wp_20_…` site 20's, named or not, there before the backup or not."""
    for prefix in ("wp_", "wp_2_", "wp_20_"):
        network.site(prefix)
    network.sql(
        "CREATE VIEW wp_2_seen AS SELECT id FROM wp_2_posts",
        "CREATE TRIGGER wp_2_watch BEFORE INSERT ON wp_2_posts FOR EACH ROW SET NEW.id = NEW.id + 10",
        "CREATE PROCEDURE wp_2_proc() SELECT 1",
        "CREATE EVENT wp_2_event ON SCHEDULE EVERY 1 DAY DO DELETE FROM wp_2_posts WHERE id = 9",
    )
    network.configure('prefixes = ["wp_"]')
    network.ok("migrate", "--all-tenants")
    network.terminal.write("migrations/app/002_note.sql", NO_WAY_BACK)
    network.ok("migrate", "--all-tenants")
    network.sql(
        "INSERT INTO wp_2_posts VALUES (2)",
        "INSERT INTO wp_20_posts VALUES (2)",
        "INSERT INTO wp_posts VALUES (2, 2)",
        "CREATE OR REPLACE VIEW wp_2_seen AS SELECT id + 1 AS id FROM wp_2_posts",
        "DROP EVENT wp_2_event",
        "CREATE PROCEDURE wp_2_later() SELECT 1",
    )
    network.site("wp_3_")
    assert "all valid" in network.ok("validate").out
    network.ok("rollback", "--all-tenants", "-y")
    assert [network.count(f"wp_{one}posts") for one in ("", "2_", "20_", "3_")] == [1, 2, 2, 1]
    assert query(network.server, "SELECT MAX(id) FROM wp_2_seen", database=network.database) == (
        (13,),
    )
    programs = query(
        network.server,
        "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()"
        " UNION ALL SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()"
        " ORDER BY 1",
        database=network.database,
    )
    assert [row[0] for row in programs] == ["wp_2_later", "wp_2_proc"]
    network.ok("restore", "--all-tenants", "-y")
    assert network.count("wp_2_posts") == 2 and network.count("wp_3_posts") == 1


def test_a_site_beside_a_site(network: Network) -> None:
    """All of `wp_2_…` is site 2's, its plugins' tables too; not `wp_2_3_…`, not `wp_20_…`."""
    for prefix in ("wp_2_", "wp_20_", "wp_2_3_"):
        network.site(prefix)
    network.sql("CREATE TABLE wp_2_shop_orders (id INT PRIMARY KEY)")
    network.configure('prefixes = ["wp_2_"]')
    network.ok("migrate", "--all-tenants")
    for table in ("wp_2_posts", "wp_20_posts", "wp_2_3_posts", "wp_2_shop_orders"):
        network.sql(f"INSERT INTO {table} VALUES (2)")
    network.sql("CREATE TABLE wp_2_late (id INT)")
    network.ok("rollback", "--all-tenants", "-y", "--by", "backup")
    tables = ("wp_2_posts", "wp_20_posts", "wp_2_3_posts", "wp_2_shop_orders")
    assert [network.count(one) for one in tables] == [1, 2, 2, 0]
    assert "wp_2_late" not in network.tables()


@pytest.mark.parametrize("command", ["rollback", "restore"])
def test_what_is_unclear_is_refused_by_name(network: Network, command: str) -> None:
    """A second install and a plugin's tables look alike: nothing is dropped until the file says."""
    network.site("wp_")
    network.site("wp_shop_")
    network.sql("CREATE TABLE wp_yoast_links (id INT PRIMARY KEY)")
    network.configure('prefixes = ["wp_"]')
    network.terminal.write("migrations/app/002_note.sql", NO_WAY_BACK)
    told = network.ok("migrate", "--all-tenants")
    assert "leaves out wp_shop_options, wp_shop_posts, wp_yoast_links" in told.out + told.err
    assert "all valid" in network.ok("validate").out
    network.sql("INSERT INTO wp_shop_posts VALUES (2)", "INSERT INTO wp_yoast_links VALUES (7)")
    network.sql("INSERT INTO wp_posts VALUES (2, 2)")
    arguments = [command, "--all-tenants", "-y", *(["--to", "0"] if command == "rollback" else [])]
    said = network.refused(*arguments)
    assert "wp_shop_options" in said and "wp_yoast_links" in said
    assert 'tables = ["' in said and "neighbours" in said and "ledger.toml:" in said
    assert network.count("wp_posts") == 2 and network.count("wp_shop_posts") == 2

    network.configure('prefixes = ["wp_"]', 'neighbours = ["wp_shop_"]')
    said = network.refused(*arguments)
    assert "wp_yoast_links" in said and "wp_shop" not in said
    network.configure('prefixes = ["wp_"]', 'neighbours = ["wp_shop_"]', 'tables = ["yoast_*"]')
    network.ok(*arguments)
    assert network.count("wp_posts") == 1
    # No backup holds it from before it was declared.
    assert network.count("wp_yoast_links") == 1 and network.count("wp_shop_posts") == 2


def test_what_is_declared_is_backed_up(network: Network) -> None:
    """`tables` with and without the prefix: they are restored, and dropped if they are new."""
    network.site("wp_")
    network.sql("CREATE TABLE wp_yoast_links (id INT PRIMARY KEY)", "CREATE TABLE wp_rank (id INT)")
    network.sql("CREATE PROCEDURE wp_yoast_proc() SELECT 1")
    network.configure('prefixes = ["wp_"]', 'tables = ["yoast_*", "{prefix}rank"]')
    told = network.ok("migrate", "--all-tenants")
    assert "leaves out" not in told.out + told.err
    assert "all valid" in network.ok("validate").out
    network.sql(
        "INSERT INTO wp_yoast_links VALUES (1)",
        "DROP TABLE wp_rank",
        "DROP PROCEDURE wp_yoast_proc",
        "CREATE TABLE wp_yoast_new (id INT)",
    )
    assert network.terminal.run("validate", env=network.environment).code == 4
    network.ok("restore", "--all-tenants", "-y")
    assert network.count("wp_yoast_links") == 0 and network.count("wp_rank") == 0
    assert "wp_yoast_new" not in network.tables()
    network.sql("CALL wp_yoast_proc()")


def test_tables_all(network: Network) -> None:
    """`tables = ["*"]` is everything with the prefix, without the sites and installs that go on with it."""
    for prefix in ("wp_", "wp_2_"):
        network.site(prefix)
    network.sql("CREATE TABLE wp_yoast_links (id INT PRIMARY KEY)")
    network.configure('prefixes = ["wp_"]', 'tables = ["*"]')
    network.ok("migrate", "--all-tenants")
    network.sql("INSERT INTO wp_yoast_links VALUES (1)", "INSERT INTO wp_2_posts VALUES (2)")
    network.ok("rollback", "--all-tenants", "-y", "--by", "backup")
    assert network.count("wp_yoast_links") == 0 and network.count("wp_2_posts") == 2
    network.site("wp_shop_")
    assert "wp_shop_posts" in network.refused("restore", "--all-tenants", "-y")


def test_what_appears_later_is_refused(network: Network) -> None:
    """A table, a view, a routine or an event that came after the backup and that nobody declared."""
    network.site("wp_")
    network.configure('prefixes = ["wp_"]')
    network.ok("migrate", "--all-tenants")
    for make, name, drop in (
        ("CREATE TABLE wp_new_x (id INT)", "wp_new_x", "DROP TABLE wp_new_x"),
        ("CREATE VIEW wp_new_v AS SELECT 1 AS x", "wp_new_v", "DROP VIEW wp_new_v"),
        ("CREATE FUNCTION wp_new_f() RETURNS INT DETERMINISTIC RETURN 1", "wp_new_f", "DROP FUNCTION wp_new_f"),
        ("CREATE EVENT wp_new_e ON SCHEDULE EVERY 1 DAY DO DO 1", "wp_new_e", "DROP EVENT wp_new_e"),
    ):  # fmt: skip
        network.sql(make)
        assert name in network.refused("restore", "--all-tenants", "-y")
        assert name in network.refused("rollback", "--all-tenants", "-y", "--by", "backup")
        network.sql(drop)
    network.ok("restore", "--all-tenants", "-y")


def test_what_a_migration_touches_is_its_own(network: Network) -> None:
    """A plugin's table that a migration alters or fills is in the backup from before it."""
    network.site("wp_")
    network.sql("CREATE TABLE wp_rank_a (id INT PRIMARY KEY)", "CREATE TABLE wp_rank_b (id INT)")
    network.sql("INSERT INTO wp_rank_a VALUES (1)")
    network.configure('prefixes = ["wp_"]')
    network.ok("migrate", "--all-tenants", "--to", "001")
    assert "all valid" in network.ok("validate").out
    network.terminal.write(
        "migrations/app/002_rank.sql",
        "ALTER TABLE {prefix}rank_a ADD COLUMN n INT;\nINSERT INTO {prefix}rank_b VALUES (5);\n",
    )
    # A file that waits says nothing yet of what stands here.
    assert "all valid" in network.ok("validate").out
    network.ok("rehearse", "--all-tenants", "--from", "live")
    told = network.ok("migrate", "--all-tenants")
    assert "leaves out" not in told.out + told.err
    assert "all valid" in network.ok("validate").out
    network.ok("rollback", "--all-tenants", "-y")
    rows = query(network.server, "SELECT * FROM wp_rank_a", database=network.database)
    assert rows == ((1,),) and network.count("wp_rank_b") == 0
    assert "all valid" in network.ok("validate").out
    (network.terminal.folder / "migrations/app/002_rank.sql").unlink()
    # Its file is gone: the backup and the ledger's text say whose the tables are.
    network.ok("restore", "--all-tenants", "-y")


def test_each_database_is_a_site(network: Network, make_database: MakeDatabase) -> None:
    """`databases` with a `prefix`: the tables of each are under it, its plugins' tables too; what has
    no prefix, and another site's, is not the tenant's."""
    other = make_database(network.server, "wp")
    url = address(network.server)
    source = network.terminal.folder / "ledger.toml"
    network.configure(f'databases = ["{network.database}", "{other}"]', 'prefix = "wp_"')
    source.write_text(source.read_text().replace(address(network.server, network.database), url))
    network.site("wp_")
    network.site("wp_2_")
    network.sql(
        "CREATE TABLE wp_yoast (id INT PRIMARY KEY)", "CREATE TABLE stats (id INT PRIMARY KEY)"
    )
    assert "2 migrated" in network.ok("migrate", "--all-tenants").out
    found = network.ok("tenants", "--format", "json").json()
    assert {one["tenant"]: one["prefix"] for one in found} == {
        network.database: "wp_",
        other: "wp_",
    }
    assert query(network.server, "SELECT words FROM wp_notes", database=other) == (("one",),)
    for table in ("wp_yoast", "stats", "wp_2_posts"):
        network.sql(f"INSERT INTO {table} VALUES (2)")
    assert "all valid" in network.ok("validate").out
    network.ok("restore", "--tenant", network.database, "-y")
    assert [network.count(one) for one in ("wp_yoast", "stats", "wp_2_posts")] == [0, 1, 2]
    assert "wp_notes" not in network.tables()
    assert query(network.server, "SHOW TABLES", database=other) != ()


def test_a_query_brings_sites(network: Network) -> None:
    """`query` with a `prefix`; a SQLite file has none."""
    url = address(network.server, network.database)
    control = network.terminal.folder / "control.db"
    sqlite_run(control, "CREATE TABLE t (name, url)", f"INSERT INTO t VALUES ('one', '{url}')")
    named = 'password_env = "TEST_PASSWORD"\n' if network.server.password else ""
    network.terminal.write(
        "ledger.toml",
        'migrations = "migrations/app"\n[[tenants]]\nquery = "SELECT name, url FROM t"\n'
        f'url = "sqlite:///control.db"\n{named}prefix = "site_"\n',
    )
    network.ok("migrate", "--all-tenants")
    assert {"site_notes", "site_ledger_marker"} == network.tables()
    sqlite_run(control, "INSERT INTO t VALUES ('file', 'sqlite:///file.db')")
    ended = network.terminal.run("plan", env=network.environment)
    assert ended.code == 4 and "file is a SQLite file" in ended.out


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE {prefix}x (id INT);",
        "CREATE TABLE x (id VARCHAR(40) DEFAULT '{prefix}user_roles');",
        "CREATE TABLE x (id INT);\n-- migrate:down\nDROP TABLE {prefix}x;",
    ],
)
def test_no_prefix_is_an_error(network: Network, statement: str) -> None:
    """`{prefix}` where a tenant has none: an error of the plan, with the line; `prefix = ""` means it."""
    network.terminal.write(
        "migrations/app/001_notes.sql", f"-- a {{prefix}} in a comment\n{statement}"
    )
    network.configure()
    for command in (["plan"], ["migrate", "--all-tenants"]):
        ended = network.terminal.run(*command, env=network.environment)
        assert ended.code == 2 and 'prefix = "wp_"' in ended.err, ended
        assert re.search(r"001_notes.sql:[24]: the placeholder \{prefix\} has no value", ended.err)
    assert network.tables() == set()
    network.configure('prefix = ""')
    network.ok("migrate", "--all-tenants")
    assert "x" in network.tables()


def test_reset_and_maintenance_leave_others_alone(network: Network) -> None:
    """`reset --drop-all` drops what migrations made, `maintain` works on what is the tenant's."""
    network.site("wp_")
    network.site("wp_2_")
    network.sql("CREATE TABLE wp_rank (id INT PRIMARY KEY, at DATE)")
    network.sql("INSERT INTO wp_rank VALUES (1, '2001-01-01')")
    network.configure('prefixes = ["wp_"]')
    network.ok("migrate", "--all-tenants")
    network.ok("maintain", "--task", "optimize", "--all-tenants")
    events = network.ok("history", "wp", "--format", "jsonl").lines()
    assert [one["table"] for one in events[-1]["body"]["tables"]] == [
        "wp_notes", "wp_options", "wp_posts",
    ]  # fmt: skip
    archive = ["maintain", "--task", "archive", "--column", "at", "--older-than", "365d"]
    said = network.refused(*archive, "--table", "rank", "--apply", "-y", "--all-tenants")
    assert "wp_rank" in said and "tables = [" in said
    assert network.count("wp_rank") == 1
    network.ok("reset", "--drop-all", "--tenant", "wp", "--yes-drop", "wp")
    assert network.tables() >= {"wp_posts", "wp_2_posts", "wp_rank"}
    assert "wp_notes" not in network.tables()


def test_case_does_not_count_where_the_server_folds_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    private_mariadb: MakePrivateMariadb,
) -> None:
    """With lower_case_table_names a migration's `wp_Notes` is the table `wp_notes`, and declared `Yoast`
    is `wp_yoast`."""
    server = as_server(private_mariadb("--lower-case-table-names=1"))
    network = Network(
        Terminal(tmp_path, monkeypatch, capsys), server, create_database(server, "wp")
    )
    network.site("WP_")
    network.site("WP_2_")
    network.sql("CREATE TABLE WP_Yoast (id INT PRIMARY KEY)")
    network.configure('prefixes = ["wp_"]', 'tables = ["Yoast"]')
    network.terminal.write("migrations/app/001_notes.sql", FIRST.replace("notes", "My_Notes"))
    told = network.ok("migrate", "--all-tenants")
    assert "leaves out" not in told.out + told.err
    network.sql("INSERT INTO wp_posts VALUES (2)", "INSERT INTO wp_2_posts VALUES (2)")
    assert "all valid" in network.ok("validate").out
    network.ok("rollback", "--all-tenants", "-y", "--by", "backup")
    assert network.count("wp_posts") == 1 and network.count("wp_2_posts") == 2
    assert network.tables() >= {"wp_yoast"} and "wp_my_notes" not in network.tables()


def test_a_prefix_in_capitals_where_the_server_folds_case(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    private_mariadb: MakePrivateMariadb,
) -> None:
    """With lower_case_table_names = 1 the prefix `WP_` stands for `wp_`, in all that a tenant goes through."""
    server = as_server(private_mariadb("--lower-case-table-names=1"))
    network = Network(
        Terminal(tmp_path, monkeypatch, capsys), server, create_database(server, "wp")
    )
    network.site("WP_")
    network.site("WP_2_")
    network.configure('prefixes = ["WP_"]')
    network.ok("migrate", "--all-tenants")
    assert "wp_notes" in network.tables()
    network.terminal.write(
        "migrations/app/002_more.sql", "ALTER TABLE {prefix}notes ADD more INT;\n"
    )
    network.sql("INSERT INTO wp_posts VALUES (2)")
    told = network.ok("migrate", "--all-tenants")
    assert "leaves out" not in told.out + told.err
    network.sql("INSERT INTO wp_posts VALUES (3)", "INSERT INTO wp_2_posts VALUES (2)")
    assert "all valid" in network.ok("validate").out
    network.ok("rollback", "app/002", "--all-tenants", "-y", "--by", "backup")
    assert network.count("wp_posts") == 2 and network.count("wp_2_posts") == 2
    assert "all valid" in network.ok("validate").out
    network.sql("ALTER TABLE wp_posts ADD by_hand INT")
    assert (
        "column {prefix}posts.by_hand added"
        in network.terminal.run("validate", env=network.environment).out
    )
    network.ok("reset", "--drop-all", "--tenant", "WP", "--yes-drop", "WP")
    assert "wp_notes" not in network.tables() and "wp_2_posts" in network.tables()


def test_what_a_python_migration_makes_is_the_tenants(network: Network) -> None:
    """No file names its tables; the statements that it ran do, also for the runs after it.

    What looks like another site's is the tenant's if it made it; what it only filled stays unclear.
    """
    network.site("wp_")
    network.sql("CREATE TABLE wp_rank (id INT)", "CREATE TABLE wp_8_logs (id INT)")
    network.configure('prefixes = ["wp_"]', head="allow_python = true\n")
    network.terminal.write(
        "migrations/app/002_made.py",
        "async def up(tenant):\n"
        "    await tenant.execute(f'INSERT INTO {tenant.prefix}8_logs VALUES (1)')\n"
        "    for name in ('cards', 'boards', '7_cards'):\n"
        "        await tenant.execute(f'CREATE TABLE {tenant.prefix}{name} (id INT)')\n",
    )
    network.ok("migrate", "--all-tenants")
    network.terminal.write(
        "migrations/app/003_more.sql", "ALTER TABLE {prefix}notes ADD more INT;\n"
    )
    network.sql("INSERT INTO wp_cards VALUES (1)")
    told = network.ok("migrate", "--all-tenants")
    assert "wp_cards" not in told.out + told.err and "wp_rank" in told.out + told.err
    assert "wp_7_cards" not in told.out + told.err and "wp_8_logs" in told.out + told.err
    network.configure(
        'prefixes = ["wp_"]', 'neighbours = ["wp_rank", "wp_8_"]', head="allow_python = true\n"
    )
    network.sql("DELETE FROM wp_cards", "INSERT INTO wp_rank VALUES (1)")
    network.ok("rollback", "app/003", "--all-tenants", "-y", "--by", "backup")
    assert network.count("wp_cards") == 1 and network.count("wp_rank") == 1
    network.sql("DROP TABLE wp_boards")
    ended = network.terminal.run("validate", env=network.environment)
    assert "table {prefix}boards" in ended.out


@pytest.mark.parametrize("command", ["restore", "reset --mark-only"])
def test_what_a_python_migration_made_stays_the_tenants(network: Network, command: str) -> None:
    """Also where a command writes the tenant's marker anew."""
    network.site("wp_")
    network.configure('prefixes = ["wp_"]', head="allow_python = true\n")
    network.terminal.write(
        "migrations/app/002_made.py",
        "async def up(tenant):\n"
        "    name = 'cards'\n"
        "    await tenant.execute(f'CREATE TABLE {tenant.prefix}{name} (id INT)')\n",
    )
    network.ok("migrate", "--all-tenants")
    network.terminal.write(
        "migrations/app/003_more.sql", "ALTER TABLE {prefix}notes ADD more INT;\n"
    )
    network.ok("migrate", "--all-tenants")
    if command == "restore":
        network.ok("rollback", "app/003", "--all-tenants", "-y", "--by", "backup")
    else:
        network.ok("reset", "--mark-only", "--to", "003", "--tenant", "wp", "-y")
    network.sql("CREATE TABLE wp_rank (id INT)")
    network.terminal.write(
        "migrations/app/004_last.sql", "ALTER TABLE {prefix}notes ADD last INT;\n"
    )
    told = network.ok("migrate", "--all-tenants")
    assert "wp_cards" not in told.out + told.err and "wp_rank" in told.out + told.err


def test_names_are_compared_as_the_server_does(network: Network) -> None:
    """`_` is no wildcard, whatever the session's sql_mode; `WP_` is not `wp_` where case counts."""
    network.site("wp_")
    network.site("wpx")
    network.sql("CREATE TABLE WP_notes2 (id INT)")
    network.configure(
        'prefixes = ["wp_"]', "session = [\"SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'\"]"
    )
    network.ok("migrate", "--all-tenants")
    network.sql("INSERT INTO wp_posts VALUES (2)", "INSERT INTO wpxposts VALUES (2)")
    network.ok("restore", "--all-tenants", "-y")
    assert network.count("wp_posts") == 1 and network.count("wpxposts") == 2
    assert "wp_notes" not in network.tables()
    assert "WP_notes2" in network.tables()
