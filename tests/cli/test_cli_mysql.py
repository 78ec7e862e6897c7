"""The command line on MariaDB, and in the MySQL job on MySQL: databases, prefixes, and a ledger on the server."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from tests.cli.terminal import CANARY, Terminal, sqlite_run
from tests.servers import ROOT, Server, query

MakeDatabase = Callable[..., str]

FIRST = """\
-- step: Create users
CREATE TABLE {prefix}users (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40)) {charset_collate};
-- step: First user
INSERT INTO {prefix}users (name) VALUES ('ana');
-- migrate:down
DROP TABLE {prefix}users;
-- migrate:verify
-- check: There is a user
SELECT count(*) > 0 FROM {prefix}users;
"""
SECOND = """\
-- step: Add age column
ALTER TABLE {prefix}users ADD COLUMN age INT;
-- step: Fill it
UPDATE {prefix}users SET age = 7;
"""


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A folder with one migration."""
    terminal.write("migrations/app/001_users.sql", FIRST)
    return terminal


def address(server: Server, database: str = "") -> str:
    """The server's URL as it is written in a configuration; its password is named apart."""
    socket = f"?unix_socket={server.url.unix_socket}" if server.url.unix_socket else ""
    return f"mysql://{server.url.user}@{server.url.host}:{server.url.port}/{database}{socket}"


def configure(terminal: Terminal, server: Server, tenants: str, head: str = "") -> dict[str, str]:
    """Write the configuration; returns the environment that holds the server's password."""
    named = 'password_env = "TEST_PASSWORD"\n' if server.password else ""
    none = "" if "prefixes" in tenants else 'prefix = ""\n'
    terminal.write(
        "ledger.toml", f'{head}migrations = "migrations/app"\n[[tenants]]\n{named}{none}{tenants}\n'
    )
    return {"TEST_PASSWORD": server.password}


def columns(server: Server, database: str, table: str) -> list[str]:
    """A table's columns; empty if it is not there."""
    rows = query(
        server,
        "SELECT column_name FROM information_schema.columns"
        f" WHERE table_schema = '{database}' AND table_name = '{table}' ORDER BY ordinal_position",
    )
    return [str(row[0]) for row in rows]


def test_databases_walk_through_everything(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """plan, migrate, status, history, validate, rollback by script and by backup, restore, verify."""
    names = sorted(make_database(sql_server) for _ in range(3))
    env = configure(terminal, sql_server, f'mysql = "{address(sql_server)}"\ndatabases = {names!r}')
    assert "3 tenants, new" in terminal.ok("plan", env=env).out
    assert "3 migrated" in terminal.ok("migrate", "--all-tenants", env=env).out
    assert terminal.ok("migrate", "--all-tenants", env=env).out.startswith("Nothing to do")
    events = terminal.ok("history", names[0], "--format", "jsonl", env=env).lines()
    types = [event["type"] for event in events]
    assert types[0] == "started" and types[-1] == "completed" and "backup_created" in types
    assert types.count("step_applied") == 2
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    assert "all valid" in terminal.ok("validate", env=env).out

    terminal.write("migrations/app/002_age.sql", SECOND)
    terminal.ok("migrate", "--all-tenants", env=env)
    assert columns(sql_server, names[0], "users") == ["id", "name", "age"]
    told = terminal.ok("rollback", "--all-tenants", "-y", "--by", "backup", env=env).out
    assert "3 rolled back" in told
    assert columns(sql_server, names[0], "users") == ["id", "name"]
    assert "3 rolled back" in terminal.ok("rollback", "001", "--all-tenants", "-y", env=env).out
    assert columns(sql_server, names[0], "users") == []

    terminal.ok("migrate", "--to", "001", "--all-tenants", env=env)
    newest = terminal.ok("backups", "--tenant", names[0], "--format", "json", env=env).json()[-1]
    assert newest["format"] == "sql.zst"
    terminal.ok("restore", "--tenant", names[0], "-y", env=env)
    assert columns(sql_server, names[0], "users") == []
    assert columns(sql_server, names[1], "users") == ["id", "name"]
    ended = terminal.run("status", "--check", "--format", "json", env=env)
    assert ended.code == 4 and ended.json()["summary"] == {"pending": 3}
    assert "the chain holds" in terminal.ok("verify", env=env).out


def test_prefixes_of_one_database(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """Each prefix is a tenant of its own; a restore of one leaves its neighbours alone."""
    database = make_database(sql_server)
    env = configure(
        terminal,
        sql_server,
        f'mysql = "{address(sql_server, database)}"\nprefixes = ["wp_2_", "wp_3_"]',
    )
    assert "2 migrated" in terminal.ok("migrate", "--all-tenants", env=env).out
    found = terminal.ok("tenants", "--format", "json", env=env).json()
    assert [one["prefix"] for one in found] == ["wp_2_", "wp_3_"]
    query(sql_server, "INSERT INTO wp_3_users (name) VALUES ('late')", database=database)
    terminal.ok("rollback", "--tenant", found[0]["tenant"], "-y", "--by", "backup", env=env)
    assert columns(sql_server, database, "wp_2_users") == []
    assert query(sql_server, "SELECT count(*) FROM wp_3_users", database=database) == ((2,),)


def test_neighbours_by_another_address(
    terminal: Terminal, mariadb: Server, make_database: MakeDatabase
) -> None:
    """A longer prefix is a neighbour whatever account or host name it is configured with; a whole
    database in which others have prefixes is no tenant beside them."""
    database = make_database(mariadb)
    query(mariadb, "CREATE TABLE wp_2_posts (id INT)", database=database)
    main = f'mysql = "{address(mariadb, database)}"\nprefixes = ["wp_"]\n'
    named = 'password_env = "TEST_PASSWORD"\n' if mariadb.password else ""
    other = address(mariadb, database).replace(f"//{mariadb.url.user}@", "//nobody@")
    site = f'[[tenants]]\n{named}mysql = "{other}"\nprefixes = ["wp_2_"]\n'
    env = configure(terminal, mariadb, main + site)
    terminal.ok("migrate", "--tenant", "wp", env=env)
    query(mariadb, "INSERT INTO wp_2_posts VALUES (1)", database=database)
    terminal.ok("restore", "--tenant", "wp", "-y", env=env)
    assert query(mariadb, "SELECT count(*) FROM wp_2_posts", database=database) == ((1,),)
    whole = f'[[tenants]]\n{named}mysql = "{address(mariadb)}"\ndatabases = ["{database}"]\n'
    configure(terminal, mariadb, main + whole)
    ended = terminal.run("migrate", "--all-tenants", env=env)
    assert ended.code == 2 and "in which 'wp' has the prefix wp_" in ended.err


def test_a_ledger_on_the_server(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """The ledger itself in a database: the same commands, and SQLite tenants in the same run."""
    ledger, tenant = make_database(sql_server, "l"), make_database(sql_server)
    sqlite_run(terminal.folder / "data/acme.db", "CREATE TABLE mine (x)")
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    env = configure(
        terminal,
        sql_server,
        f'mysql = "{address(sql_server, tenant)}"\n[[tenants]]\nsqlite = "data/*.db"\n'
        'migrations = "migrations/files"',
        head=f'url = "{address(sql_server, ledger)}"\n{named}',
    )
    terminal.write("migrations/files/1.0.0_base.sql", "CREATE TABLE users (id);\n")
    ended = terminal.ok("migrate", "--all-tenants", "--format", "json", env=env)
    assert ended.json()["summary"] == {"migrated": 2}
    assert terminal.ok("status", "--check", env=env).code == 0
    events = terminal.ok("history", "--format", "jsonl", env=env).lines()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert "the chain holds" in terminal.ok("verify", env=env).out


def test_a_failed_statement_goes_on_from_there(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """DDL that landed stays and is not repeated; the corrected rest is applied by the same command."""
    database = make_database(sql_server)
    env = configure(terminal, sql_server, f'mysql = "{address(sql_server, database)}"')
    terminal.ok("migrate", "--all-tenants", env=env)
    good = "ALTER TABLE users ADD COLUMN age INT;\n"
    terminal.write("migrations/app/002_age.sql", good + "UPDATE nope SET x = 1;\n")
    ended = terminal.run("migrate", "--all-tenants", env=env)
    assert ended.code == 3
    assert (
        "app/002" in ended.out
        and "step 2" in ended.out
        and "002_age.sql:2" in ended.out
        and "nope" in ended.out
    )
    query(sql_server, "CREATE TABLE nope (x INT)", database=database)
    assert "1 migrated" in terminal.ok("migrate", "--all-tenants", env=env).out
    steps = terminal.ok(
        "history", "--type", "step_applied", "--migration", "002", "--format", "jsonl", env=env
    ).lines()
    assert [event["body"]["step"] for event in steps] == [1, 2]


def test_an_optimizer_hint_stays_with_its_statement(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """Neither a ; nor a quotation mark in a hint ends the statement or begins a literal."""
    name = make_database(sql_server)
    env = configure(
        terminal, sql_server, f'mysql = "{address(sql_server)}"\ndatabases = ["{name}"]'
    )
    terminal.write(
        "migrations/app/002_hint.sql",
        "INSERT /*+ SET_VAR(sort_buffer_size = 262144); it's a hint */ INTO users (name)\n"
        "SELECT /*+ MAX_EXECUTION_TIME(1000); */ 'b;' FROM users;\n",
    )
    terminal.ok("migrate", "--all-tenants", env=env)
    rows = query(sql_server, "SELECT name FROM users ORDER BY id", database=name)
    assert rows == (("ana",), ("b;",))


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        (
            "CREATE TABLE nope (x INT);\nALTER TABLE users ADD COLUMN age INT;\n",
            "is another statement",
        ),
        ("ALTER TABLE users ADD COLUMN age INT;\n", "is not in the file any more"),
    ],
)
def test_a_correction_of_what_has_landed_is_refused(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase, edited: str, words: str
) -> None:
    """What landed is not run again, so that a statement in its place would never run: put back, or restored."""
    database = make_database(sql_server)
    env = configure(terminal, sql_server, f'mysql = "{address(sql_server, database)}"')
    terminal.ok("migrate", "--all-tenants", env=env)
    landed = "ALTER TABLE users ADD COLUMN age INT;\nALTER TABLE users ADD COLUMN size INT;\n"
    rest = "UPDATE users SET age = 7;\n"
    terminal.write("migrations/app/002_age.sql", landed + "UPDATE nope SET x = 1;\n")
    assert terminal.run("migrate", "--all-tenants", env=env).code == 3
    terminal.write("migrations/app/002_age.sql", edited)
    ended = terminal.run("migrate", "--all-tenants", env=env)
    assert ended.code == 3 and words in ended.out
    terminal.ok("restore", "--all-tenants", "-y", env=env)
    terminal.write("migrations/app/002_age.sql", landed + rest)
    assert "1 migrated" in terminal.ok("migrate", "--all-tenants", env=env).out
    assert columns(sql_server, database, "users") == ["id", "name", "age", "size"]


def test_a_wrong_password_is_one_clear_failure(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """Access denied: the tenant, the user and the reason; never the password."""
    database = make_database(sql_server)
    socket = f"?unix_socket={sql_server.url.unix_socket}" if sql_server.url.unix_socket else ""
    url = f"mysql://nobody_here@{sql_server.url.host}:{sql_server.url.port}/{database}{socket}"
    terminal.write(
        "ledger.toml",
        f'migrations = "migrations/app"\n[[tenants]]\nmysql = "{url}"\nprefix = ""\n'
        'password_env = "WRONG"\n',
    )
    ended = terminal.run("migrate", "--all-tenants", env={"WRONG": CANARY})
    assert ended.code == 3 and f"{database}: unreachable" in ended.out
    assert "nobody_here" in ended.out
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code in (2, 3) and "WRONG" in ended.out + ended.err


def test_a_server_that_is_down_costs_its_own_tenants_only(terminal: Terminal) -> None:
    """Nothing listens there: unreachable, in bounded time, and the SQLite tenants go on."""
    sqlite_run(terminal.folder / "data/acme.db", "CREATE TABLE mine (x)")
    terminal.write("migrations/app/001_users.sql", "CREATE TABLE users (id INT);\n")
    terminal.write(
        "ledger.toml",
        'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n'
        '[[tenants]]\nmysql = "mysql://app@127.0.0.1:1"\ndatabases = ["x", "y"]\n'
        '[[tenants]]\nmysql = "mysql://app@127.0.0.1:1"\ndatabases = "tenant_%"\n',
    )
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 3 and "1 migrated" in ended.out
    assert "  x: unreachable" in ended.out and "  y: unreachable" in ended.out
    assert "  tenants[3]" in ended.out


def test_the_ledgers_own_database_is_no_tenant(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """A pattern leaves it out; in a list it is an error, and so is one database with two names."""
    own, tenant = make_database(sql_server, "q"), make_database(sql_server, "q")
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    head = f'url = "{address(sql_server, own)}"\n{named}'
    common = own[: next(i for i, (a, b) in enumerate(zip(own, tenant, strict=True)) if a != b)]
    found = f'mysql = "{address(sql_server)}"\ndatabases = '
    env = configure(terminal, sql_server, f"{found}'{common}%'", head)
    terminal.ok("migrate", "--tenant", tenant, env=env)
    listed = terminal.ok("tenants", "--format", "jsonl", env=env).lines()
    assert {one["tenant"] for one in listed} >= {tenant} and own not in str(listed)
    configure(terminal, sql_server, f'{found}["{tenant}", "{own}"]', head)
    ended = terminal.run("restore", "--all-tenants", "-y", env=env)
    assert ended.code == 2 and f"tenant {own} is the ledger's own database" in ended.err
    twice = f'{found}["{tenant}"]\n[[tenants]]\n{named}mysql = "{address(sql_server, tenant)}"\n'
    configure(terminal, sql_server, twice + 'name = "again"', head)
    ended = terminal.run("migrate", "--all-tenants", env=env)
    assert ended.code == 2 and "are one database" in ended.err


def test_names_and_prefixes_from_a_query(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """A binary column's bytes are its text; a row without a name or a prefix is an error, by its number."""
    database = make_database(sql_server)
    query(
        sql_server,
        "CREATE TABLE sites (name VARBINARY(20), prefix VARBINARY(20), url VARCHAR(200))",
        database=database,
    )
    query(
        sql_server,
        f"INSERT INTO sites VALUES ('acme', 'wp_2_', '{address(sql_server, database)}'), (0, NULL, 'sqlite:///x.db')",
        database=database,
    )
    ask = f'url = "{address(sql_server, database)}"\nquery = "SELECT name, url FROM sites"'
    env = configure(terminal, sql_server, ask)
    listed = terminal.ok("tenants", "--format", "jsonl", env=env).lines()
    assert [one["tenant"] for one in listed] == ["0", "acme"]
    found = f'mysql = "{address(sql_server, database)}"\nprefixes_query = "SELECT prefix FROM sites'
    configure(terminal, sql_server, f'{found} WHERE prefix IS NOT NULL"')
    listed = terminal.ok("tenants", "--format", "jsonl", env=env).lines()
    assert [(one["tenant"], one["prefix"]) for one in listed] == [("wp_2", "wp_2_")]
    configure(terminal, sql_server, f'{found} ORDER BY prefix IS NULL"')
    ended = terminal.run("tenants", env=env)
    assert ended.code == 2 and "row 2 of prefixes_query has no prefix" in ended.err


def test_the_shipped_woo_set(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """Six tables and two views under the prefix, valid; its own down takes them all away."""
    database = make_database(sql_server)
    named = 'password_env = "TEST_PASSWORD"\n' if sql_server.password else ""
    query(
        sql_server,
        "CREATE TABLE wp_users (ID bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,"
        " display_name varchar(250), user_email varchar(100))",
        database=database,
    )
    terminal.write(
        "ledger.toml",
        f'migrations = "{ROOT}/migrations/woo_ai"\n[[tenants]]\n{named}'
        f'mysql = "{address(sql_server, database)}"\nprefixes = ["wp_"]\n'
        'variables = { wpdb_users = "wp_users" }\n',
    )
    env = {"TEST_PASSWORD": sql_server.password}
    assert "1 migrated" in terminal.ok("migrate", "--all-tenants", env=env).out
    assert "all valid" in terminal.ok("validate", env=env).out
    kinds = "SELECT table_type, count(*) FROM information_schema.tables WHERE table_schema ="
    like = "AND table_name LIKE 'wp\\_woo%' GROUP BY table_type ORDER BY table_type"
    counted = query(sql_server, f"{kinds} '{database}' {like}")
    assert counted == (("BASE TABLE", 6), ("VIEW", 2))
    terminal.ok("rollback", "001", "--all-tenants", "-y", env=env)
    assert query(sql_server, f"{kinds} '{database}' {like}") == ()


def test_a_restore_keeps_privileges_on_routines(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """A server revokes them with a routine that is dropped; killed in its middle, the next one grants them."""
    database = make_database(sql_server)
    account = f"u_{secrets.token_hex(6)}"
    env = configure(terminal, sql_server, f'mysql = "{address(sql_server, database)}"')
    for sql in (
        "CREATE PROCEDURE act() SELECT 1",
        "CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1",
        f"CREATE USER '{account}'@'%'",
        f"GRANT EXECUTE, ALTER ROUTINE ON PROCEDURE `{database}`.act TO '{account}'@'%'",
        f"GRANT EXECUTE ON FUNCTION `{database}`.one TO '{account}'@'%' WITH GRANT OPTION",
    ):
        query(sql_server, sql, database=database)
    try:
        before = set(query(sql_server, f"SHOW GRANTS FOR '{account}'@'%'"))
        assert len(before) == 3
        terminal.ok("migrate", "--all-tenants", env=env)
        terminal.ok("restore", "--all-tenants", "-y", env=env)
        assert set(query(sql_server, f"SHOW GRANTS FOR '{account}'@'%'")) == before
        killed = env | {"LEDGER_FAILPOINT": "restore.half_written"}
        assert terminal.start("restore", "--all-tenants", "-y", env=killed).code == -9
        terminal.ok("restore", "--all-tenants", "-y", env=env)
        assert set(query(sql_server, f"SHOW GRANTS FOR '{account}'@'%'")) == before
    finally:
        query(sql_server, f"DROP USER '{account}'@'%'")
