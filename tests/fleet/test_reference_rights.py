"""Drift on servers where nothing but the tenants may be touched, and in databases shared by prefix."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.terminal import Terminal
from tests.conftest import MakeDatabase
from tests.servers import Server, queries, query

NOTES = (
    "CREATE TABLE {prefix}notes (id INTEGER PRIMARY KEY, text VARCHAR(50));\n"
    "CREATE INDEX notes_text ON {prefix}notes (text);\n"
)
TAGS = (
    "-- skip-if: column {prefix}notes.tags\nALTER TABLE {prefix}notes ADD COLUMN tags VARCHAR(9);\n"
)


@contextmanager
def account(server: Server, databases: list[str]) -> Iterator[str]:
    """An account with all rights on these databases, and none elsewhere."""
    user = f"app_{secrets.token_hex(4)}"
    query(server, f"CREATE USER {user}@'%'")
    try:
        for name in databases:
            query(server, f"GRANT ALL ON `{name}`.* TO {user}@'%'")
        yield user
    finally:
        query(server, f"DROP USER {user}@'%'")


def differences(terminal: Terminal) -> dict[str, list[tuple[str, str, str]]]:
    """What `validate` says, by tenant."""
    return {
        one["tenant"]: [
            (change["kind"], change["name"], change["how"]) for change in one.get("changes", ())
        ]
        for one in terminal.run("validate", "--format", "json").json()["findings"]
    }


def test_without_a_scratch_database_the_other_tenants_tell(
    sql_server: Server, make_database: MakeDatabase, terminal: Terminal
) -> None:
    """Drift stays after a migration; what most tenants with the same applied set have is none."""
    names = sorted(make_database(sql_server) for _ in range(4))
    url = sql_server.url
    with account(sql_server, names) as user:
        terminal.write(
            "ledger.toml",
            f'backup = "never"\n[[tenants]]\nmysql = "mysql://{user}@{url.host}:{url.port}"\n'
            f"databases = {names!r}\n",
        )
        terminal.write("migrations/001_notes.sql", NOTES.replace("{prefix}", ""))
        terminal.ok("migrate", "--all-tenants")
        queries(sql_server, ["DROP INDEX notes_text ON notes"], database=names[0])
        queries(sql_server, ["ALTER TABLE notes ADD COLUMN tags VARCHAR(9)"], database=names[1])
        terminal.write("migrations/002_tags.sql", TAGS.replace("{prefix}", ""))
        terminal.ok("migrate", "--all-tenants")
        found = differences(terminal)
        assert found.pop(names[0]) == [("index", "notes.notes_text", "missing")]
        assert not any(found.values()), found
        queries(sql_server, ["CREATE INDEX notes_text ON notes (text)"], database=names[0])
        assert not any(differences(terminal).values())
        assert terminal.run("status", "--check").code == 0


def test_tenants_by_prefix_agree_without_their_prefixes(
    sql_server: Server, make_database: MakeDatabase, terminal: Terminal
) -> None:
    """Drift of one is told by its own names, and stays; patterns may have the prefix or not, in any case."""
    database = make_database(sql_server)
    url = sql_server.url
    terminal.write(
        "ledger.toml",
        f'backup = "never"\n[[tenants]]\nmysql = "mysql://{url.user}@{url.host}:{url.port}/{database}"\n'
        'prefixes = ["a_", "b_"]\ntables = ["*"]\nignore = ["a_other", "Tool_*"]\n',
    )
    terminal.write("migrations/001_notes.sql", NOTES)
    terminal.ok("migrate", "--all-tenants")
    queries(sql_server, ["DROP INDEX notes_text ON a_notes"], database=database)
    for name in ("a_other", "a_tool_x", "b_tool_y", "b_other"):
        queries(sql_server, [f"CREATE TABLE {name} (id INTEGER)"], database=database)
    terminal.write("migrations/002_tags.sql", TAGS)
    terminal.ok("migrate", "--all-tenants")
    assert differences(terminal) == {
        "a": [("index", "{prefix}notes.notes_text", "missing")],
        "b": [("table", "{prefix}other", "added")],
    }
