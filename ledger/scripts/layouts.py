"""How other migration tools lay out SQL files: the marks that divide a file, and the names of directions.

Data, for what refuses such files today and what reads them in place. Invariant: a mark is a
whole comment; a comment that goes on after it in words of its own is prose.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from ledger.dialects import NAMES

Direction = Literal["up", "down", "verify", "single", "other"]
"""What follows a mark, or stands in a folder: what applies, what undoes, what checks; `single` asks for
statements one by one, without a transaction; `other` is none of these."""


class Mark(NamedTuple):
    """`pattern` is for a comment's text without its `--`, `#` or `/* */`, in any case of letters;
    dashes and the like around it do not count. It has no groups. A `loose` one is prose as
    often, and a mark only if statements follow it (`HEADING`)."""

    direction: Direction
    pattern: str
    loose: bool = False


class Tool(NamedTuple):
    """A tool and its marks; `source` is where its format is described."""

    name: str
    marks: tuple[Mark, ...]
    source: str


def _loose(up: str, down: str) -> tuple[Mark, ...]:
    return (Mark("up", up, loose=True), Mark("down", down, loose=True))


def _plus(word: str) -> tuple[Mark, ...]:
    """`-- +word Up`, and everything else that begins with `+word`."""
    return (
        Mark("up", rf"\+\s*{word}\s+up\b.*"),
        Mark("down", rf"\+\s*{word}\s+down\b.*"),
        Mark("single", rf"\+\s*{word}\s+no\s*transaction\b.*"),
        Mark("other", rf"\+\s*{word}\b.*"),
    )


TOOLS: Final = (
    Tool("goose", _plus("goose"), "https://pressly.github.io/goose/documentation/annotations/"),
    Tool(
        "sql-migrate", _plus("migrate"), "https://github.com/rubenv/sql-migrate#writing-migrations"
    ),
    Tool("micrate", _plus("micrate"), "https://github.com/amberframework/micrate"),
    Tool(
        "Liquibase",
        (
            Mark("other", r"liquibase\s+formatted\s+sql\b.*"),
            Mark("other", r"changeset\s+[^\s:]+:\S+.*"),
            Mark("down", r"liquibase\s+rollback\b.*"),
        ),
        "https://docs.liquibase.com/concepts/changelogs/sql-format.html",
    ),
    Tool(
        "node-pg-migrate",
        _loose(r"up\s+migration", r"down\s+migration"),
        "https://github.com/salsita/node-pg-migrate/blob/main/src/sqlMigration.ts",
    ),
    Tool(
        "Play evolutions",
        (Mark("up", r"!\s*ups\b.*"), Mark("down", r"!\s*downs\b.*")),
        "https://www.playframework.com/documentation/latest/Evolutions",
    ),
    Tool(
        "MyBatis Migrations",
        (Mark("down", r"@undo\b.*"),),
        "https://mybatis.org/migrations/new.html; dbdeploy has the same",
    ),
    Tool(
        "tern",
        (Mark("down", r"create\s+above\s*/\s*drop\s+below"),),
        "https://github.com/jackc/tern#migrations",
    ),
    Tool(
        "rambler",
        (Mark("up", r"rambler\s+up"), Mark("down", r"rambler\s+down")),
        "https://github.com/elwinar/rambler#migrations",
    ),
    Tool(
        "Migratus",
        (
            Mark("up", r";;\s*up"),
            Mark("down", r";;\s*down"),
            Mark("single", r":disable-transaction"),
            Mark("other", r";;"),
        ),
        "https://github.com/yogthos/migratus#multiple-statements",
    ),
    Tool(
        "Atlas",
        (
            Mark("up", r"migration\.sql\s+--"),
            Mark("down", r"down\.sql\s+--"),
            Mark("verify", r"checks(?:/[\w.-]+)*(?:\.sql)?\s+--"),
            Mark("single", r"atlas\s*:\s*txmode\s+none"),
            Mark("other", r"atlas\s*:\s*(?:txtar|delimiter|checkpoint)\b.*"),
        ),
        "https://atlasgo.io/versioned/apply; https://pkg.go.dev/golang.org/x/tools/txtar",
    ),
    Tool(
        "Mojo",
        (Mark("up", r"\d+\s*up(?:\s*\(.*\))?"), Mark("down", r"\d+\s*down(?:\s*\(.*\))?")),
        "https://metacpan.org/pod/Mojo::mysql::Migrations",
    ),
    Tool(
        "SQLSpec",
        (Mark("up", r"name\s*:\s*migrate-\S+-up"), Mark("down", r"name\s*:\s*migrate-\S+-down")),
        "https://sqlspec.dev/usage/migrations.html",
    ),
    Tool(
        "Sqitch",
        (
            Mark("down", r"revert\s+\S+:\S+\s+from\s+\w+"),
            Mark("verify", r"verify\s+\S+:\S+\s+on\s+\w+"),
        ),
        "https://sqitch.org/docs/manual/sqitchtutorial/",
    ),
    Tool(
        "sqlx",
        (Mark("single", "no-transaction"),),
        "https://docs.rs/sqlx/latest/sqlx/macro.migrate.html",
    ),
    Tool(
        "graphile-migrate",
        (Mark("single", r"!\s*no-transaction"),),
        "https://github.com/graphile/migrate#configuration",
    ),
    Tool(
        "yoyo",
        (Mark("single", r"transactional\s*:\s*false"),),
        "https://ollycope.com/software/yoyo/latest/#disabling-transactions",
    ),
    Tool("shmig", _loose("up", "down"), "https://github.com/mbucc/shmig#migrations"),
    Tool("sqlite of Node", _loose("up", "down"), "https://www.npmjs.com/package/sqlite#migrations"),
    Tool("Jetbase", _loose("upgrade", "rollback"), "https://pypi.org/project/jetbase/"),
    Tool(
        "another tool",
        (
            Mark("up", r"\+\w[\w.-]*\s+up"),
            Mark("down", r"\+\w[\w.-]*\s+down"),
            Mark("single", r"(?:no\W?transaction|transaction\s*[:=]\s*(?:false|off|no|none))"),
            Mark("other", r"\+\w[\w.-]*\s+statement\s*(?:begin|end)"),
            Mark("up", r"[@!]\s*up(?:\s*\(\s*\))?"),
            Mark("down", r"[@!]\s*(?:down|rollback|revert)(?:\s*\(\s*\))?"),
        ),
        "made by hand after those above",
    ),
)
"""The tools whose marks no prose has. dbmate's marks are this tool's own."""

HEADING_WORDS: Final = frozenset(
    {
        "backward", "backwards", "down", "downgrade", "downs", "downward", "downwards", "reverse", "revert",
        "rollback", "unapply", "undo",
    }
)  # fmt: skip
HEADING_FILLERS: Final = frozenset(
    {
        "begin", "change", "changes", "db", "direction", "half", "migrate", "migration", "migrations", "part",
        "schema", "script", "scripts", "section", "sql", "start", "statement", "statements", "step", "steps",
        "to", "up", "v", "version",
    }
)  # fmt: skip
"""A comment of such words alone, between other signs (`-- Down`, `-- === ROLLBACK ===`, `-- Down (undo)`), is a
mark of the sqlite package of Node, shmig, Jetbase, Coast and many made by hand, if statements follow it."""


class Pair(NamedTuple):
    """Words of names: of what applies, and of what undoes or checks it. A word that is not `plain`
    is one of other names as often, and counts beside its partner only."""

    forward: str
    other: str
    direction: Direction = "down"
    plain: bool = True


PAIRS: Final = (
    Pair("up", "down"),
    Pair("ups", "downs"),
    Pair("up", "drop", plain=False),
    Pair("upward", "downward"),
    Pair("upwards", "downwards"),
    Pair("do", "undo"),
    Pair("redo", "undo"),
    Pair("deploy", "revert"),
    Pair("deploy", "rollback"),
    Pair("deploy", "undeploy"),
    Pair("deploy", "verify", "verify", plain=False),
    Pair("apply", "revert"),
    Pair("apply", "reverts"),
    Pair("apply", "rollback"),
    Pair("apply", "unapply"),
    Pair("migrate", "rollback"),
    Pair("migrate", "unmigrate"),
    Pair("migrations", "rollbacks"),
    Pair("update", "rollback"),
    Pair("forward", "backward"),
    Pair("forward", "reverse"),
    Pair("forward", "back", plain=False),
    Pair("forwards", "backwards"),
    Pair("upgrade", "downgrade"),
    Pair("upgrades", "downgrades"),
    Pair("install", "uninstall"),
    Pair("setup", "teardown"),
    Pair("release", "backout"),
    Pair("create", "drop", plain=False),
    Pair("create", "destroy", plain=False),
    Pair("add", "remove", plain=False),
    Pair("enable", "disable", plain=False),
    Pair("next", "previous", plain=False),
    Pair("next", "prev", plain=False),
)
"""Sqitch: deploy, revert, verify. RoundhousE, byjg/migration: up, down. postgrator: do, undo.
godfish: forward, reverse. DeploymentHandler: upgrade, downgrade. The others are made by hand."""

FILLERS: Final = frozenset(
    {
        "change", "changes", "changesets", "database", "db", "file", "files", "migration", "migrations",
        "patch", "patches", "schema", "script", "scripts", "sql", "sqls", "step", "steps", *NAMES,
    }
)  # fmt: skip
"""Words of a folder's name that say nothing beside a direction: `rollback_scripts`, `sql-down`."""

FOLDER_PER_MIGRATION: Final = frozenset({"up.sql", "down.sql", "migration.sql"})
"""Diesel, Hasura, Prisma and others: a folder has the migration's name, and these files in it."""
