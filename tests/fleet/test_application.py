"""SQLite: functions, collations and extensions of the application, wherever a tenant is opened."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ledger.errors import ConfigError
from tests.cli.terminal import Terminal
from tests.fleet.world import Fleet
from tests.servers import ROOT

APPLICATION = """
import sqlite3

def prepare(connection):
    connection.create_function("slugify", 1, lambda text: str(text).lower(), deterministic=True)
    connection.create_collation("backwards", lambda one, other: (one < other) - (one > other))
    connection.execute("PRAGMA synchronous = OFF").fetchall()
    connection.row_factory, connection.text_factory = sqlite3.Row, bytes
    connection.isolation_level = "EXCLUSIVE"

class Deep:
    prepare = staticmethod(prepare)

async def later(connection): ...
def broken(connection): raise RuntimeError("no key for this tenant")
def refused(connection): connection.execute("SELECT * FROM nothing_here")
def leaves(connection): connection.execute("BEGIN")
thing = 7
"""
FIRST = """\
CREATE TABLE words (word TEXT COLLATE backwards PRIMARY KEY, slug TEXT AS (slugify(word)) STORED);
CREATE INDEX words_slug ON words (slugify(word));
INSERT INTO words (word) VALUES ('Alpha'), ('Beta'), ('Gamma');
-- migrate:down
DROP TABLE words;
-- migrate:verify
-- check: Slugs are there
SELECT count(*) = 3 FROM words WHERE slug = slugify(word);
"""
SECOND = """\
-- skip-if: sql: SELECT slugify('X') <> 'x'
UPDATE words SET word = word || 'S';
-- migrate:sync
CREATE TABLE tags (tag TEXT PRIMARY KEY COLLATE backwards, CHECK (slugify(tag) <> ''));
CREATE INDEX tags_slug ON tags (slugify(tag));
-- migrate:down
UPDATE words SET word = rtrim(word, 'S');
DROP TABLE tags;
"""
THIRD = """\
-- migrate:up transaction:false
DELETE FROM words WHERE slugify(word) LIKE 'gamma%';
REINDEX;
-- migrate:down transaction:false
INSERT INTO words (word) VALUES ('GammaS');
"""


def _fleet(root: Path, functions: str = "app.db:prepare", **how: object) -> Fleet:
    fleet = Fleet(root, tenants=3, extra=f"workers = {how.get('workers', 0)}")
    (root / "app").mkdir()
    (root / "app/db.py").write_text(APPLICATION)
    if functions:
        fleet.config.write_text(fleet.config.read_text() + f'functions = "{functions}"\n')
    fleet.write("001_notes.sql", FIRST)
    return fleet


@pytest.fixture(autouse=True)
def no_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test's own `app`."""
    for name in [one for one in sys.modules if one == "app" or one.startswith("app.")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("functions", ["app.db:prepare", "app.db:Deep.prepare"])
async def test_migrations_have_them(tmp_path: Path, workers: int, functions: str) -> None:
    """In statements, guards, checks, sections sync, backups and down parts, in worker processes too."""
    fleet = _fleet(tmp_path, functions, workers=workers)
    async with fleet.open() as ledger:
        report = await ledger.migrate()
        assert [one.message for one in report.outcomes] == [""] * 3
        fleet.write("002_more.sql", SECOND)
        fleet.write("003_less.sql", THIRD)
        report = await ledger.migrate()
        assert [one.message for one in report.outcomes] == [""] * 3
        assert fleet.query("t1", "SELECT group_concat(slug) FROM words NOT INDEXED") == [
            ("alphas,betas",)
        ]
        assert not (await ledger.validate()).drift
        report = await ledger.rollback(to="001")
        assert [one.message for one in report.outcomes] == [""] * 3
        report = await ledger.restore("*")
        assert [one.message for one in report.outcomes] == [""] * 3


async def test_without_the_key_nothing_is_called(tmp_path: Path) -> None:
    """Off unless it is named: the module is not even imported."""
    fleet = _fleet(tmp_path, "")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert {one.result for one in report.outcomes} == {"failed"}
    assert "no such collation sequence: backwards" in report.outcomes[0].message
    assert "app.db" not in sys.modules


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ("app.nowhere:prepare", "app.nowhere cannot be imported: ModuleNotFoundError"),
        ("app.bad:prepare", "app.bad cannot be imported: ZeroDivisionError"),
        ("app.db:absent", "absent is not there in app.db"),
        ("app.db:later", "later is no plain function in app.db"),
        ("app.db:thing", "thing is no plain function in app.db"),
        ("app.db", "tenants[1].functions is not MODULE:NAME"),
    ],
)
async def test_what_cannot_be_imported_is_said_before_anything(
    tmp_path: Path, functions: str, said: str
) -> None:
    """With the source that names it; no tenant is claimed."""
    fleet = _fleet(tmp_path, functions)
    (tmp_path / "app/bad.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError) as caught:
        async with fleet.open() as ledger:
            await ledger.migrate()
    assert said in str(caught.value)
    assert "tenants[1]" in str(caught.value)
    assert caught.value.hint
    assert fleet.query("t0", "SELECT count(*) FROM sqlite_master") == [(0,)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "app.db:broken failed: RuntimeError: no key for this tenant"),
        ("refused", "app.db:refused failed: no such table: nothing_here"),
        ("leaves", "app.db:leaves has left a transaction open"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
async def test_a_function_that_fails_sets_its_tenants_aside(
    tmp_path: Path, name: str, said: str, workers: int
) -> None:
    """Each is unreachable, with the function's name and what it raised."""
    fleet = _fleet(tmp_path, f"app.db:{name}", workers=workers)
    async with fleet.open() as ledger:
        report = await ledger.migrate()
        status = await ledger.status()
    assert {one.result for one in report.outcomes} == {"unreachable"}
    assert all(said in one.message for one in report.outcomes)
    assert [one.lock for one in status.tenants] == [None] * 3


def test_commands_that_look_have_them(tmp_path: Path, terminal: Terminal) -> None:
    """doctor checks the indexes for real; lint, rehearse, maintain and validate --schema work."""
    terminal.write("app/db.py", APPLICATION)
    terminal.write("migrations/001_words.sql", FIRST)
    terminal.write(
        "ledger.toml", '[[tenants]]\nsqlite = "data/*.db"\nfunctions = "app.db:prepare"\n'
    )
    terminal.write("data/.keep", "")
    with closing(sqlite3.connect(tmp_path / "data/a.db")) as database:
        database.execute("PRAGMA user_version = 1")
    terminal.ok("migrate", "--all-tenants")
    terminal.write("migrations/002_more.sql", SECOND)
    assert "it cannot be made" not in terminal.ok("lint").out
    terminal.ok("rehearse", "--tenant", "a")
    terminal.write("wanted.sql", FIRST.partition("INSERT")[0])
    terminal.ok("validate", "--schema", "wanted.sql")
    terminal.ok("maintain", "--all-tenants", "--task", "optimize", "-y")
    terminal.ok("doctor")
    with closing(sqlite3.connect(tmp_path / "data/a.db", isolation_level=None)) as database:
        # Where the function is not known, an index on it cannot be made right: this one is wrong.
        database.create_function("slugify", 1, lambda text: "wrong", deterministic=True)
        database.create_collation("backwards", lambda one, other: (one < other) - (one > other))
        database.execute("REINDEX words_slug")
    ended = terminal.run("doctor")
    assert ended.code == 4 and "words_slug" in ended.out


async def test_a_control_planes_tenants_have_them(tmp_path: Path) -> None:
    """The source is a query; its tenants are files."""
    fleet = _fleet(tmp_path)
    with closing(sqlite3.connect(tmp_path / "control.db")) as database:
        database.execute("CREATE TABLE tenants (name, url)")
        database.execute("INSERT INTO tenants VALUES ('t0', 'sqlite:///data/t0.db')")
        database.commit()
    fleet.config.write_text(
        '[[tenants]]\nquery = "SELECT name, url FROM tenants"\nurl = "sqlite:///control.db"\n'
        'functions = "app.db:prepare"\n'
    )
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert [one.message for one in report.outcomes] == [""]


def test_a_configuration_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """It says what is run by this account."""
    fleet = _fleet(tmp_path)
    fleet.config.chmod(0o666)
    with pytest.raises(ConfigError, match="functions is imported and called"):
        fleet.open()


@pytest.mark.parametrize("file", ["app/db.py", "app/__init__.py"])
async def test_a_module_that_others_may_write_is_not_imported(tmp_path: Path, file: str) -> None:
    """Nor the package that it lies in."""
    fleet = _fleet(tmp_path)
    (tmp_path / "app/__init__.py").write_text("")
    (tmp_path / file).write_text(f"raise SystemExit('{file} ran')\n")
    (tmp_path / file).chmod(0o666)
    with pytest.raises(ConfigError, match="it is imported"):
        async with fleet.open() as ledger:
            await ledger.migrate()


EXTENSION = """
#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT1
static void slugify(sqlite3_context *context, int count, sqlite3_value **values) {
  sqlite3_result_value(context, values[0]);
}
int sqlite3_extension_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  SQLITE_EXTENSION_INIT2(api);
  return sqlite3_create_function(db, "slugify", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, 0, slugify, 0, 0);
}
"""
USE = "CREATE TABLE words (word TEXT);\nCREATE INDEX words_slug ON words (slugify(word));\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_extensions_are_loaded(tmp_path: Path, workers: int) -> None:
    """From a file beside the configuration; a Python that cannot load any says so, before anything."""
    fleet = _fleet(tmp_path, "", workers=workers)
    fleet.write("001_notes.sql", USE)
    (tmp_path / "slug.c").write_text(EXTENSION)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "slug.so", "slug.c"], cwd=tmp_path, check=True)
    fleet.config.write_text(fleet.config.read_text() + 'extensions = ["slug.so"]\n')
    python = able_python()
    command = [python or sys.executable, "-m", "ledger", "migrate", "--all-tenants"]
    path = os.pathsep.join([str(ROOT), str(Path(anyio.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    if python is None:
        assert ended.returncode == 2
        assert "built without loadable extensions" in ended.stderr
        return
    assert ended.returncode == 0, ended.stderr
    (tmp_path / "slug.so").unlink()
    fleet.write("002_more.sql", "DELETE FROM words;\n")
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "the extension slug.so cannot be loaded" in ended.stderr


def able_python() -> str | None:
    """A Python of this version whose sqlite3 loads extensions: this one, or the system's."""
    wanted = "{}.{}".format(*sys.version_info)
    code = (
        "import sqlite3, sys; print('{}.{}'.format(*sys.version_info),"
        " hasattr(sqlite3.Connection, 'enable_load_extension'))"
    )
    for one in (sys.executable, "/usr/bin/python3"):
        if Path(one).exists():
            done = subprocess.run([one, "-c", code], capture_output=True, text=True, check=False)
            if done.stdout.split() == [wanted, "True"]:
                return one
    return None
