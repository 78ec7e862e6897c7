"""Accounts that may do no more than they need, on MySQL and MariaDB."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_cli_mysql import address
from tests.servers import Server, queries, query

MakeDatabase = Callable[..., str]
LEAST = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE")
PLAIN = (
    "CREATE TABLE notes (id INT PRIMARY KEY, `references` INT);\nINSERT INTO notes VALUES (1, 1);\n"
)
SYNC = """\
-- migrate:sync
CREATE TABLE one (id INT PRIMARY KEY, name VARCHAR(20));
CREATE INDEX one_name ON one (name);
CREATE TABLE two (id INT PRIMARY KEY, one INT, CONSTRAINT two_one FOREIGN KEY (one) REFERENCES one (id));
"""
COMPARED = """\
-- migrate:sync
CREATE TABLE {prefix}one (
  id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(30) DEFAULT 'it', sort INT NOT NULL DEFAULT 4,
  note TEXT, at TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP COMMENT 'it''s',
  more INT, data JSON, kind ENUM('a', 'b') DEFAULT 'a', twice INT AS (more * 2) STORED,
  CHECK (more > 0), KEY by_note (note(20))
);
CREATE INDEX by_name ON {prefix}one (name);
CREATE TABLE {prefix}two (id INT PRIMARY KEY);
"""


class Account:
    """An account of its own on one database, and a folder to work in."""

    def __init__(self, terminal: Terminal, server: Server, database: str) -> None:
        self.terminal, self.server, self.database = terminal, server, database
        self.name, self.password = f"t{secrets.token_hex(6)}", secrets.token_hex(12)
        for host in ("%", "localhost"):
            query(server, f"CREATE USER `{self.name}`@`{host}` IDENTIFIED BY '{self.password}'")
        place = address(server, database).replace(f"//{server.url.user}@", f"//{self.name}@")
        terminal.write(
            "ledger.toml",
            'url = "sqlite:///ledger.db"\nmigrations = "migrations/app"\nbackup = "never"\n'
            f'[[tenants]]\nmysql = "{place}"\npassword_env = "WEAK"\n',
        )

    def grant(self, *privileges: str, on: str = "") -> None:
        """On its database, or elsewhere."""
        for host in ("%", "localhost"):
            where = on or f"`{self.database}`.*"
            query(
                self.server, f"GRANT {', '.join(privileges)} ON {where} TO `{self.name}`@`{host}`"
            )

    def run(self, *words: str) -> tuple[int, str]:
        """The exit code, and all that was said."""
        ended = self.terminal.run(*words, env={"WEAK": self.password})
        return ended.code, ended.out + ended.err

    def migrate(self) -> tuple[int, str]:
        """All there is to do."""
        return self.run("migrate", "--all-tenants", "-y")

    def tables(self) -> set[str]:
        """The marker apart."""
        rows = query(self.server, "SHOW TABLES", database=self.database)
        return {str(row[0]) for row in rows} - {"ledger_marker"}


@pytest.fixture
def account(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sql_server: Server,
    make_database: MakeDatabase,
) -> Iterator[Account]:
    """An account without any privilege."""
    made = Account(Terminal(tmp_path, monkeypatch, capsys), sql_server, make_database(sql_server))
    yield made
    for host in ("%", "localhost"):
        query(sql_server, f"DROP USER `{made.name}`@`{host}`")


def test_only_what_the_migrations_do_is_needed(account: Account) -> None:
    """No REFERENCES where there is no foreign key, no INDEX, ALTER or DROP where none is used."""
    account.terminal.write("migrations/app/001_notes.sql", PLAIN)
    account.grant(*LEAST)
    code, said = account.migrate()
    assert code == 0, said
    assert account.tables() == {"notes"}


@pytest.mark.parametrize(
    ("sql", "lacking"),
    [
        ("CREATE TABLE x (id INT, FOREIGN KEY (id) REFERENCES notes (id));", "REFERENCES"),
        ("ALTER TABLE notes ADD CONSTRAINT c FOREIGN KEY (`references`) REFERENCES notes (id);", "ALTER, REFERENCES"),
        ("CREATE INDEX i ON notes (id);", "INDEX"),
        ("DROP TABLE notes;", "DROP"),
        ("TRUNCATE notes;", "DROP"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1;", "DROP, CREATE VIEW, SHOW VIEW"),
        ("CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW SET NEW.id = 1;", "TRIGGER"),
        ("CREATE PROCEDURE p() SELECT 1;", "CREATE ROUTINE"),
        ("CREATE TEMPORARY TABLE tt (a INT);", "CREATE TEMPORARY TABLES"),
    ],
)  # fmt: skip
def test_what_they_do_need_is_named_before_anything_runs(
    account: Account, sql: str, lacking: str
) -> None:
    """All of it, and no more; with it the same command goes through up to that statement and beyond."""
    account.terminal.write("migrations/app/001_notes.sql", PLAIN + sql + "\n")
    account.grant(*LEAST)
    code, said = account.migrate()
    assert code == 1
    assert f"lacks {lacking} on {account.database}" in said
    assert account.tables() == set()
    account.grant(*lacking.split(", "))
    code, said = account.migrate()
    assert code == 0 or "log_bin_trust_function_creators" in said, said


def test_a_wish_without_the_right_to_scratch_databases(account: Account) -> None:
    """A tenant that has nothing of it gets it as it stands; a FULLTEXT index to be compared needs the GRANT."""
    account.terminal.write("migrations/app/001_wish.sql", SYNC)
    account.grant("ALL")
    _, said = account.run("lint")
    assert "scratch-database" in said
    _, said = account.run("doctor")
    assert "may not make databases named ledger_scratch_" in said
    code, said = account.run("plan", "-v")
    assert code == 0, said
    assert "CREATE TABLE two" in said
    code, said = account.migrate()
    assert code == 0, said
    assert account.tables() == {"one", "two"}
    account.terminal.write(
        "migrations/app/002_more.sql",
        SYNC.replace("name VARCHAR(20)", "name VARCHAR(30), FULLTEXT KEY words (name)"),
    )
    code, said = account.migrate()
    assert code == 3
    assert "GRANT ALL ON `ledger\\_scratch\\_%`.*" in said
    account.grant("ALL", on="`ledger\\_scratch\\_%`.*")
    code, said = account.migrate()
    assert code == 0, said
    (row,) = query(account.server, "SHOW COLUMNS FROM one LIKE 'name'", database=account.database)
    assert row[1] == "varchar(30)"
    assert "may not make databases" not in account.run("doctor")[1]


@pytest.mark.parametrize("prefix", ["", "wp_2_"])
def test_a_wish_is_compared_with_rights_on_the_tenant_alone(account: Account, prefix: str) -> None:
    """Tables that are there gain columns, types and indexes; neighbours, and what differs, stay."""
    if prefix:
        path = account.terminal.folder / "ledger.toml"
        account.terminal.write("ledger.toml", path.read_text() + f'prefixes = ["{prefix}"]\n')
    queries(
        account.server,
        (
            f"CREATE TABLE {prefix}one (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20) DEFAULT 'it',"
            " more INT, INDEX more (more), sort INT NOT NULL DEFAULT 3, data JSON, kind ENUM('a') DEFAULT 'a',"
            " FULLTEXT INDEX words (name), CHECK (more > 0))",
            f"INSERT INTO {prefix}one (name) VALUES ('kept')",
            "CREATE TABLE other_one (id INT)",
        ),
        database=account.database,
    )
    text = COMPARED.replace("{prefix}", prefix)
    account.terminal.write("migrations/app/001_wish.sql", text)
    account.grant("ALL")
    code, said = account.run("plan", "-v")
    assert code == 0 and "ADD COLUMN `note`" in said, said
    code, said = account.migrate()
    assert code == 0, said
    assert "one.sort" in said and "one.name" not in said and "one.more" not in said, said
    rows = query(account.server, f"SHOW COLUMNS FROM {prefix}one", database=account.database)
    assert [(row[0], row[1].partition("(")[0]) for row in rows] == [
        ("id", "bigint"), ("name", "varchar"), ("more", "int"), ("sort", "int"),
        ("data", "json" if account.server.flavor == "mysql" else "longtext"), ("kind", "enum"), ("note", "text"),
        ("at", "timestamp"), ("twice", "int"),
    ]  # fmt: skip
    assert (rows[1][1], rows[1][2], rows[1][4]) == ("varchar(30)", "YES", "it")
    indexes = query(account.server, f"SHOW INDEX FROM {prefix}one", database=account.database)
    assert {row[2] for row in indexes} == {"PRIMARY", "more", "words", "by_name", "by_note"}
    assert account.tables() - {f"{prefix}ledger_marker"} == {
        f"{prefix}one",
        f"{prefix}two",
        "other_one",
    }
    same = text.replace("NOT NULL DEFAULT 4", "NOT NULL DEFAULT 3")
    account.terminal.write("migrations/app/002_again.sql", same)
    code, said = account.migrate()
    assert code == 0 and "sync leaves" not in said, said


KEYS = """\
-- migrate:sync
CREATE TABLE one (id INT PRIMARY KEY, up INT, KEY up (up),
  CONSTRAINT {name} FOREIGN KEY (up) REFERENCES one (ID) ON DELETE SET NULL, note TEXT);
CREATE TABLE two (
  CONSTRAINT FOREIGN KEY one (`One`) REFERENCES one (id), one INT, note VARCHAR(9) COMMENT 'FOREIGN KEY (x)',
  up INT, FOREIGN KEY (up) REFERENCES two (id) ON UPDATE {rule} ON DELETE CASCADE, id INT PRIMARY KEY);
"""


def test_foreign_keys_are_compared_as_the_section_writes_them(account: Account) -> None:
    """Their names, and where letters are large, do not count; another rule and a missing key are drift."""
    text = KEYS.format(name="one_up", rule="NO ACTION")
    create = text.replace("-- migrate:sync\n", "").replace(", note TEXT", "").split(";\n")[:2]
    queries(account.server, create, database=account.database)
    account.grant("ALL")
    account.terminal.write("migrations/app/001_wish.sql", text)
    code, said = account.migrate()
    assert code == 0 and "sync leaves" not in said, said
    rows = query(account.server, "SHOW COLUMNS FROM one", database=account.database)
    assert [row[0] for row in rows] == ["id", "up", "note"]
    other = KEYS.format(name="other_name", rule="CASCADE").replace(
        "KEY up (up),", "KEY up (up), FOREIGN KEY (id) REFERENCES two (id),"
    )
    account.terminal.write("migrations/app/002_other.sql", other)
    code, said = account.migrate()
    assert code == 0 and said.count("sync leaves") == 2, said
    assert "on update CASCADE" in said and "sync leaves foreign key one.id missing" in said


SPELLINGS = """\
-- migrate:sync
CREATE TABLE spelled (
  id INT PRIMARY KEY, a VARCHAR(9) CHARACTER SET latin1 DEFAULT 'NULL', b CHAR(2) COLLATE utf8mb4_bin,
  c BIT(3) DEFAULT b'101', d DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3), price DECIMAL(5,2) NOT NULL DEFAULT 1.50,
  e VARCHAR(50) DEFAULT 'x DEFAULT ''y'' CHECK (z)' COMMENT 'it''s, COMMENT', hidden INT INVISIBLE DEFAULT 3,
  v VARCHAR(9) GENERATED ALWAYS AS (CONCAT(b, 'q')) VIRTUAL COMMENT 'AS (x) STORED',
  s VARCHAR(9) DEFAULT (CONCAT('a', 'b')),
  CONSTRAINT named CHECK (b <> 'x, y'), UNIQUE u (e(10), b DESC), KEY k {part} COMMENT 'c', note TEXT
) DEFAULT CHARSET=latin1 ROW_FORMAT=DYNAMIC COMMENT='a ENCRYPTION x';
"""


def test_what_is_alike_is_no_drift_without_scratch_databases(account: Account) -> None:
    """Whatever a server spells in another way for temporary tables than for others."""
    part = "((CONCAT(b, 'it')))" if account.server.flavor == "mysql" else "(b)"
    text = SPELLINGS.replace("{part}", part)
    create = text.replace("-- migrate:sync\n", "").replace(", note TEXT", "")
    queries(account.server, (create.rstrip().rstrip(";"),), database=account.database)
    account.grant("ALL")
    account.terminal.write("migrations/app/001_wish.sql", text)
    code, said = account.migrate()
    assert code == 0 and "sync leaves" not in said, said
    rows = query(account.server, "SHOW COLUMNS FROM spelled LIKE 'note'", database=account.database)
    assert len(rows) == 1


def test_a_wish_goes_on_after_a_kill_without_scratch_databases(account: Account) -> None:
    """Each statement once, whatever had landed, whether it was compared or made by the section."""
    queries(
        account.server, ("CREATE TABLE one (id BIGINT PRIMARY KEY)",), database=account.database
    )
    account.terminal.write(
        "migrations/app/001_wish.sql",
        COMPARED.replace("{prefix}", "").replace("AUTO_INCREMENT", "")
        + "CREATE TABLE three (id INT PRIMARY KEY, two INT, body TEXT, FULLTEXT KEY (body),"
        " FOREIGN KEY (two) REFERENCES two (id));\n"
        "CREATE INDEX three_id ON three (id);\n",
    )
    account.grant("ALL")
    for point in (
        "after_intent:1",
        "after_statement:2",
        "after_intent:3",
        "after_statement:4",
        "after_statement:1",
    ):
        ended = account.terminal.start(
            "migrate",
            "--all-tenants",
            "-y",
            env={"WEAK": account.password, "LEDGER_FAILPOINT": f"engine.{point}"},
        )
        assert ended.code < 0, (point, ended)
    code, said = account.migrate()
    assert code == 0 and said.count("sync leaves") == said.count("sync leaves check one.") == 1, (
        said
    )
    assert "_ledger_sync" not in said
    rows = query(account.server, "SHOW COLUMNS FROM one", database=account.database)
    assert {row[0] for row in rows} == {
        "id",
        "name",
        "more",
        "sort",
        "note",
        "at",
        "data",
        "kind",
        "twice",
    }
    assert account.tables() == {"one", "two", "three"}
    rows = query(account.server, "SHOW INDEX FROM three", database=account.database)
    assert "three_id" in {row[2] for row in rows}


def test_a_wish_needs_temporary_tables_or_scratch_databases(account: Account) -> None:
    """Without the right to either, nothing is touched, and the hint names both."""
    queries(account.server, ("CREATE TABLE one (id INT PRIMARY KEY)",), database=account.database)
    account.terminal.write("migrations/app/001_wish.sql", SYNC)
    account.grant(*LEAST, "INDEX", "ALTER", "REFERENCES")
    code, said = account.migrate()
    assert code == 3, said
    assert f"GRANT CREATE TEMPORARY TABLES ON `{account.database}`.*" in said
    assert "GRANT ALL ON `ledger\\_scratch\\_%`.*" in said
    assert account.tables() == {"one"}


def test_a_wish_goes_on_where_it_failed(account: Account) -> None:
    """Without a scratch database too: what its own statements have made is no reason to refuse."""
    account.terminal.write(
        "migrations/app/001_wish.sql", SYNC.replace("(one) REFERENCES", "(no) REFERENCES")
    )
    account.grant("ALL")
    code, said = account.migrate()
    assert code == 3, said
    assert account.tables() == {"one"}
    account.terminal.write("migrations/app/001_wish.sql", SYNC)
    code, said = account.migrate()
    assert code == 0, said
    assert account.tables() == {"one", "two"}
