"""The configuration file: where it is found, what it means, and errors that a person can act on."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from ledger.config import Config, load_config
from ledger.drivers.url import MysqlUrl, SecretSource, SqliteUrl
from ledger.errors import ConfigError

CANARY = "c4n4ry-p4ssw0rd"

EVERYTHING = """
url = "sqlite:///ledger.db"
migrations = "migrations"
backups = "backups"
backup = "auto"
parallel = 4
variables = { site = "main", shard = 7 }
out-of-order = "apply"
strict = true
allow_python = true
lease_seconds = 15

[timeouts]
connect_seconds = 3

[[tenants]]
sqlite = "data/*.db"
migrations = "migrations/preset_assistants"
create = true

[[tenants]]
mysql = "mysql://app@127.0.0.1:3306"
databases = "tenant_%"
password_env = "APP_DB_PASSWORD"
max_connections = 3
session = ["SET foreign_key_checks = 0"]

[[tenants]]
mysql = "mysql://app@127.0.0.1:3306/wp"
prefixes = ["wp_2_", "wp_3_"]
variables = { wpdb_users = "wp_users" }
name = "eu-{name}"

[[tenants]]
query = "SELECT name, url FROM tenants WHERE state = 'live'"
url = "sqlite:///control.db"

[env.test]
url = "sqlite:///ledger-test.db"
parallel = 2
variables = { site = "test" }

[env.prod]
url = "mysql://ledger@10.0.0.5/ledger"
password_file = "secrets/ledger"
[[env.prod.tenants]]
sqlite = "/srv/*.db"
"""


def write(folder: Path, text: str, name: str = "ledger.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, *, env: str | None = None) -> Config:
    return load_config(write(folder, text), env=env)


def test_every_key_is_read(tmp_path: Path) -> None:
    """Paths are taken from the file's folder, and each kind of tenant keeps what was said of it."""
    config = load(tmp_path, EVERYTHING)
    assert config.url == SqliteUrl(path=str(tmp_path / "ledger.db"))
    assert config.migrations == (tmp_path / "migrations",)
    assert config.backups == tmp_path / "backups"
    assert (config.backup, config.parallel, config.out_of_order) == ("auto", 4, "apply")
    assert config.strict and config.allow_python and config.lease_seconds == 15
    assert config.variables == {"site": "main", "shard": "7"}
    assert config.timeouts.connect_seconds == 3 and config.timeouts.backup_seconds == 3600
    files, databases, prefixes, query = config.tenants
    assert files.kind == "files" and files.glob == str(tmp_path / "data/*.db") and files.create
    assert files.migrations == (tmp_path / "migrations/preset_assistants",)
    assert files.source == "tenants[1] (ledger.toml:16)"
    assert databases.kind == "databases" and databases.pattern == "tenant_%"
    assert databases.url == MysqlUrl(host="127.0.0.1", user="app")
    assert databases.secret == SecretSource(env="APP_DB_PASSWORD")
    assert databases.max_connections == 3
    assert databases.session == ("SET foreign_key_checks = 0",)
    assert prefixes.kind == "prefixes" and prefixes.prefixes == ("wp_2_", "wp_3_")
    assert prefixes.variables == {"wpdb_users": "wp_users"} and prefixes.name == "eu-{name}"
    assert query.kind == "query" and query.url == SqliteUrl(path=str(tmp_path / "control.db"))
    assert config.warnings == ()


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    """A configuration need say nothing but its tenants."""
    config = load(tmp_path, "")
    assert config.url == SqliteUrl(path=str(tmp_path / "ledger.db"))
    assert (config.backup, config.parallel, config.out_of_order) == ("always", 16, "error")
    assert config.lease_seconds == 60 and config.tenants == ()


def test_an_environment_overlays_key_by_key(tmp_path: Path) -> None:
    """Tables merge, `[[env.NAME.tenants]]` replaces the tenants, the rest stays."""
    test = load(tmp_path, EVERYTHING, env="test")
    assert test.env == "test"
    assert test.url == SqliteUrl(path=str(tmp_path / "ledger-test.db"))
    assert test.variables == {"site": "test", "shard": "7"} and test.parallel == 2
    assert len(test.tenants) == 4 and test.backup == "auto"
    prod = load(tmp_path, EVERYTHING, env="prod")
    assert prod.url == MysqlUrl(host="10.0.0.5", user="ledger", database="ledger")
    assert prod.secret == SecretSource(file=str(tmp_path / "secrets/ledger"))
    assert [source.glob for source in prod.tenants] == ["/srv/*.db"]
    assert prod.tenants[0].source == "tenants[1] (ledger.toml:46)"


def test_an_overlays_password_replaces_the_one_below(tmp_path: Path) -> None:
    """At most one place for a password may be named, and an overlay may choose another."""
    text = (
        'url = "mysql://l@h/l"\npassword_env = "A"\n[env.prod]\npassword_command = ["op", "read"]'
    )
    assert load(tmp_path, text).secret == SecretSource(env="A")
    assert load(tmp_path, text, env="prod").secret == SecretSource(command=("op", "read"))


def test_the_place_is_looked_up_in_order(tmp_path: Path) -> None:
    """--config, then ledger.toml, then [tool.ledger]; a pyproject.toml without it does not count."""
    with pytest.raises(ConfigError) as nothing:
        load_config(folder=tmp_path)
    for word in ("./ledger.toml", "[tool.ledger]", "./pyproject.toml"):
        assert word in str(nothing.value)
    assert "ledger init" in nothing.value.hint and "ledger demo" in nothing.value.hint
    write(tmp_path, "[tool.ruff]\n", "pyproject.toml")
    with pytest.raises(ConfigError, match="no configuration found"):
        load_config(folder=tmp_path)
    pyproject = write(tmp_path, "[tool.ledger]\nparallel = 3\n", "pyproject.toml")
    assert load_config(folder=tmp_path).parallel == 3
    write(tmp_path, "parallel = 5\n")
    assert load_config(folder=tmp_path).parallel == 5
    assert load_config(pyproject).parallel == 3
    assert load_config(write(tmp_path, "parallel = 9", "other.toml")).parallel == 9


def test_a_password_in_a_url_works_and_is_warned_about(tmp_path: Path) -> None:
    """It is apart from the URL at once, and no warning, value or error repeats it."""
    text = f'url = "mysql://l:{CANARY}@h/l"\n[[tenants]]\nmysql = "mysql://a:{CANARY}@h/x"\n'
    config = load(tmp_path, text)
    assert config.secret.value is not None and config.secret.value.reveal() == CANARY
    assert config.tenants[0].secret.value is not None
    assert len(config.warnings) == 2 and "password_env" in config.warnings[0]
    assert CANARY not in repr(config) + str(config.url) + "".join(config.warnings)


GLOBBED = "[[tenants]]\nsqlite = 'x/*.db'\n"
SERVER = "[[tenants]]\nmysql = 'mysql://a@h'\n"

ERRORS = {
    "unknown key": ("parralel = 4", 1, "unknown key 'parralel'", "Did you mean 'parallel'?"),
    "unknown table": ("[[tenant]]\nsqlite = 'x'", 1, "unknown key 'tenant'", "'tenants'"),
    "unknown key of tenants": (
        f"{GLOBBED}{GLOBBED}[[tenants]]\nsqlit = 'x'",
        6,
        "unknown key 'sqlit' in tenants[3]",
        "Did you mean 'sqlite'?",
    ),
    "unknown key of timeouts": (
        "[timeouts]\nlock_sec = 1",
        2,
        "unknown key 'lock_sec' in timeouts",
        "'lock_seconds'",
    ),
    "unknown key of an overlay": (
        "parallel = 1\n[env.test]\nparalel = 4",
        3,
        "unknown key 'paralel' in env.test",
        "'parallel'",
    ),
    "unlike any key": ("zzz = 1", 1, "unknown key 'zzz'", "The keys are allow_python, backup"),
    "password": ("password = 'c4n4ry-p4ssw0rd'", 1, "unknown key 'password'", "password_env"),
    "wrong type": ("\nparallel = 'four'", 2, "parallel must be an integer, not a string", ""),
    "wrong type within": (
        f"{GLOBBED}{GLOBBED}session = 'PRAGMA x'",
        5,
        "tenants[2].session must be a list, not a string",
        "",
    ),
    "wrong type in an overlay": (
        "[env.test]\nstrict = 1",
        2,
        "env.test.strict must be true or false, not an integer",
        "",
    ),
    "too small": ("parallel = 0", 1, "parallel must be at least 1", ""),
    "not positive": ("[timeouts]\nlock_seconds = 0", 2, "more than 0", ""),
    "for ever": ("lease_seconds = inf", 1, "lease_seconds must be at most 31536000", ""),
    "no number": ("lease_seconds = nan", 1, "lease_seconds must be more than 0", ""),
    "no choice": ("backup = 'c4n4ry-p4ssw0rd'", 1, "must be one of always, each, auto, never", ""),
    "no workers": ("workers = 'many'", 1, "workers must be one of auto, a number", ""),
    "no migrations": ("migrations = []", 1, "migrations names no folder", "Write"),
    "no migrations of its own": (f"{GLOBBED}migrations = ''", 3, "names no folder", "leave it out"),
    "prefix variable": ("variables = { prefix = 'x' }", 1, "'prefix', which is", "prefixes"),
    "bad order": ("out-of-order = 'no'", 1, "out-of-order must be one of error, apply", ""),
    "variables": ("variables = { a = true }", 1, "variables must be", ""),
    "variable name": ("variables = { 'a-b' = 'x' }", 1, "'a-b', which cannot", "letters"),
    "syntax": ("url = 'x'\nparallel 4", 2, "not valid TOML: Expected '='", ""),
    "syntax in the middle": (
        "url = 'x'\n\n# a comment\n\nworkers = [\n1,\n=\n",
        5,
        "not valid TOML",
        "",
    ),
    "a key twice": ("url = 'x'\nparallel = 4\nurl = 'y'\nstrict = true", 3, "not valid TOML", ""),
    "a time": ("parallel = 2026-01-01", 1, "parallel must be an integer, not a date or a time", ""),
    "a number of others": ("workers = 1.5", 1, "workers must be", ""),
    "no kind": ("[[tenants]]\nname = 'x'", 1, "says not where", "exactly one"),
    "two kinds": (f"{GLOBBED}query = 'SELECT 1'", 1, "sqlite and query", "exactly one"),
    "key of another kind": (
        f"{GLOBBED}password_env = 'X'",
        3,
        "tenants[1].password_env has no meaning beside sqlite",
        "the keys are",
    ),
    "no databases": (SERVER, 2, "does not name the databases", "prefixes"),
    "two ways": (f"{SERVER}databases = 'x'\nprefixes = ['y']", 4, "both set", "Keep one"),
    "prefix without database": (f"{SERVER}prefixes = ['y']", 2, "names no database", "DATABASE"),
    "hostile prefix": (
        "[[tenants]]\nmysql = 'mysql://a@h/x'\nprefixes = ['a`; DROP']",
        3,
        "may hold only letters",
        "",
    ),
    "two passwords": (
        f"{SERVER}databases = 'x'\npassword_env = 'A'\npassword_file = 'B'",
        5,
        "password_env are both set",
        "Keep one",
    ),
    "password twice": (
        "url = 'mysql://a:c4n4ry-p4ssw0rd@h/x'\npassword_env = 'A'",
        2,
        "holds a password too",
        "Remove",
    ),
    "prefix of files": (
        f"{GLOBBED}prefix = 'wp_'",
        3,
        "is for databases of a server",
        'prefix = ""',
    ),
    "prefix and prefixes": (
        "[[tenants]]\nmysql = 'mysql://h/x'\nprefixes = ['wp_']\nprefix = 'wp_'",
        4,
        "prefixes are both set",
        "Keep one",
    ),
    "a prefix that is none": (f"{SERVER}databases = 'x'\nprefix = 'wp-'", 4, "may hold only", ""),
    "tables without a prefix": (
        f"{SERVER}databases = 'x'\ntables = ['shop_*']",
        4,
        "these tenants have no prefix",
        "a whole database",
    ),
    "a pattern that is none": (
        "[[tenants]]\nmysql = 'mysql://h/x'\nprefixes = ['wp_']\ntables = ['shop%']",
        4,
        "* and ? in patterns",
        'tables = ["shop_*"]',
    ),
    "query without url": ("[[tenants]]\nquery = 'SELECT 1'", 2, "has no url", "Add url"),
    "name template": (f"{GLOBBED}name = '{{stem}}'", 3, "no other braces", ""),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_file_line_key_and_cure(tmp_path: Path, case: str) -> None:
    """Whoever mistypes is told the place and the nearest valid key, and no value is repeated."""
    text, line, message, hint = ERRORS[case]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    error = caught.value
    assert error.file == str(tmp_path / "ledger.toml")
    assert message in error.message
    assert hint in error.hint
    assert error.line == line
    assert CANARY not in f"{error} {error.hint} {error!r}"
    assert error.exit_code == 2


BROKEN_URLS = (
    f"mysql://u:a/{CANARY}@h/x",
    f"mysql://u:{CANARY}/b@h/x",
    f"mysql://u:{CANARY}[@h/x",
    f"postgres://u:{CANARY}@h/x",
    f"sqlite:u:{CANARY}",
    f"sqlite:///{CANARY}%00.db",
    f"mysql://u:{CANARY}@h/x?sslmode=no",
)


@pytest.mark.parametrize("url", BROKEN_URLS)
def test_a_broken_url_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    """The key and the file are named; the password that broke it is not."""
    with pytest.raises(ConfigError, match=r"ledger.toml: url") as caught:
        load(tmp_path, f"url = '{url}'")
    assert CANARY not in f"{caught.value} {caught.value.hint}"
    assert caught.value.__cause__ is None


def test_an_unknown_environment_names_those_there_are(tmp_path: Path) -> None:
    """A mistyped --env never falls back to another environment's tenants."""
    with pytest.raises(ConfigError, match="no environment 'tset'") as caught:
        load(tmp_path, EVERYTHING, env="tset")
    assert caught.value.hint == "It has prod, test."


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    """A missing file, a folder, and bytes that are no text."""
    with pytest.raises(ConfigError, match="no such file") as missing:
        load_config(tmp_path / "nope.toml")
    assert missing.value.file == str(tmp_path / "nope.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"url = '\xe4'")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 7\)"):
        load_config(tmp_path / "latin.toml")
    other = write(tmp_path, "[tool.other]\n", "pyproject.toml")
    with pytest.raises(ConfigError, match=r"has no \[tool.ledger\] table"):
        load_config(other)


def test_a_folder_with_pattern_letters_is_no_pattern(tmp_path: Path) -> None:
    """The configuration's own folder may be called `a[1]`; only what is written is a glob."""
    folder = tmp_path / "a[1]"
    folder.mkdir()
    source = load(folder, GLOBBED).tenants[0]
    assert fnmatch.fnmatch(str(folder / "x" / "acme.db"), source.glob)
