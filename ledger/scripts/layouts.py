"""How other migration tools lay out SQL files: the marks that divide a file, and the names of directions.

Data, for what refuses such files today and what reads them in place. Invariant: a mark is a
whole comment; a comment that goes on after it in words of its own is prose.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Direction = Literal["up", "down", "verify", "other"]
"""What follows a mark, or stands in a folder: what applies, what undoes, what checks, none of these."""


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
        (Mark("up", r";;\s*up"), Mark("down", r";;\s*down"), Mark("other", r";;")),
        "https://github.com/yogthos/migratus#multiple-statements",
    ),
    Tool(
        "Atlas",
        (
            Mark("up", r"migration\.sql\s+--"),
            Mark("down", r"down\.sql\s+--"),
            Mark("verify", r"checks(?:/[\w.-]+)*(?:\.sql)?\s+--"),
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
    Tool("shmig", _loose("up", "down"), "https://github.com/mbucc/shmig#migrations"),
    Tool("sqlite of Node", _loose("up", "down"), "https://www.npmjs.com/package/sqlite#migrations"),
    Tool("Jetbase", _loose("upgrade", "rollback"), "https://pypi.org/project/jetbase/"),
    Tool(
        "another tool",
        (
            Mark("up", r"\+\w[\w.-]*\s+up"),
            Mark("down", r"\+\w[\w.-]*\s+down"),
            Mark("other", r"\+\w[\w.-]*\s+statement\s*(?:begin|end)"),
            Mark("up", r"[@!]\s*up(?:\s*\(\s*\))?"),
            Mark("down", r"[@!]\s*(?:down|rollback|revert)(?:\s*\(\s*\))?"),
        ),
        "made by hand after those above",
    ),
)
"""The tools whose marks no prose has. dbmate's marks are this tool's own."""

HEADING: Final = (
    r"(?:(?:migrat(?:e|ion)|sql|schema|section|begin|start|to)\W+)?"
    r"(?:downs?|undo|roll[ _-]?back|revert|downgrade|backwards?|reverse|unapply)"
    r"(?:\W+(?:migrations?|scripts?|section|part|half|sql|steps?|statements?|changes?))?"
)
"""The whole of a comment between other signs (`-- Down`, `-- === ROLLBACK ===`, `-- [undo]`): a mark of
the sqlite package of Node, shmig, Jetbase, Coast and many made by hand, if statements follow it."""
