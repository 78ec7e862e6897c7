"""From nothing to a migrated fleet: help, init, new, demo, and what loads when."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.cli.group import SECTIONS
from tests.cli.terminal import CANARY, Terminal, sqlite_rows, sqlite_run

COMMANDS = [name for section in SECTIONS.values() for name in section]


def test_help_lists_every_command(terminal: Terminal) -> None:
    """`ledger --help` names all commands, and each has a help of its own."""
    told = terminal.ok("--help").out
    for name in COMMANDS:
        assert f"\n  {name} " in told
        assert "Usage: ledger " + name in terminal.ok(name, "--help").out


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["migrate", "--help"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    """No driver, no rich, no msgspec: these answer at once."""
    heavy = {"aiosqlite", "aiomysql", "pymysql", "rich", "msgspec", "anyio", "zstandard"}
    code = (
        "import sys; from ledger.cli import invoke; "
        f"code = invoke({arguments!r}); "
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", [one for one in COMMANDS if one not in ("init", "demo")])
def test_without_configuration_every_command_says_what_to_type(
    terminal: Terminal, name: str
) -> None:
    """Exit 2; the files looked for; `ledger init` and `ledger demo`."""
    needed = {
        "new": ["x"],
        "migrate": ["--all-tenants"],
        "rollback": ["--all-tenants", "-y"],
        "restore": ["--all-tenants", "-y"],
        "baseline": ["--all-tenants", "--to", "1", "-y"],
        "unlock": ["--all-tenants", "--reason", "x", "-y"],
        "resolve": ["--tenant", "x", "--applied"],
        "reset": ["--all-tenants", "--to", "1", "-y"],
        "import": ["--all-tenants", "--from", "dbmate", "-y"],
        "export": ["--head"],
        "maintain": ["--all-tenants", "--task", "optimize"],
        "rehearse": ["--all-tenants"],
        "schema": ["x"],
        "show": ["1"],
        "blame": ["x", "--tenant", "x"],
        "diff": ["--from", "1d"],
    }
    ended = terminal.run(name, *needed.get(name, []))
    assert ended.code == 2 and ended.out == ""
    for word in (
        "./ledger.toml",
        "[tool.ledger]",
        "./pyproject.toml",
        "ledger init",
        "ledger demo",
    ):
        assert word in ended.err


@pytest.mark.parametrize(
    "name", ["migrate", "rollback", "restore", "baseline", "unlock", "reset", "import"]
)
def test_a_command_that_changes_tenants_wants_to_know_which(terminal: Terminal, name: str) -> None:
    """With neither --all-tenants nor --tenant it refuses, naming both."""
    needed = {
        "baseline": ["--to", "1"],
        "unlock": ["--reason", "x"],
        "reset": ["--to", "1"],
        "import": ["--from", "dbmate"],
    }
    ended = terminal.run(name, *needed.get(name, []))
    assert ended.code == 2
    assert "--all-tenants" in ended.err and "--tenant" in ended.err


@pytest.mark.parametrize("name", ["rollback", "restore", "baseline", "unlock"])
def test_a_destructive_command_asks_or_wants_yes(terminal: Terminal, name: str) -> None:
    """Without a terminal nobody can be asked: exit 2, naming -y."""
    needed = {
        "baseline": ["--to", "1"],
        "unlock": ["--reason", "x"],
        "reset": ["--to", "1"],
        "import": ["--from", "dbmate"],
    }
    ended = terminal.run(name, "--all-tenants", *needed.get(name, []))
    assert ended.code == 2 and "-y" in ended.err and "terminal" in ended.err


def test_a_mistyped_command_is_answered_with_the_nearest(terminal: Terminal) -> None:
    """Exit 2, one line and a hint."""
    ended = terminal.run("migrat")
    assert ended.code == 2 and "Did you mean `ledger migrate`?" in ended.err


def test_errors_as_json(terminal: Terminal) -> None:
    """--log-format json, before or after the command's name, makes errors objects."""
    for arguments in (["--log-format", "json", "status"], ["status", "--log-format", "json"]):
        ended = terminal.run(*arguments)
        document = json.loads(ended.err)
        assert document["exit_code"] == ended.code == 2
        assert "ledger init" in document["hint"]


def test_a_ledger_that_is_missing_is_made_by_what_the_hint_types(terminal: Terminal) -> None:
    """Not by `ledger init`, which leaves a folder with a configuration alone."""
    terminal.ok("init", "--sqlite", "data/*.db")
    (terminal.folder / "ledger.db").unlink()
    ended = terminal.run("verify")
    assert ended.code == 1 and "there is no ledger" in ended.err
    assert "`ledger migrate --all-tenants` makes it" in ended.err and "ledger init" not in ended.err
    sqlite_run(terminal.folder / "data/a.db", "CREATE TABLE mine (x)")
    terminal.ok("migrate", "--all-tenants")
    terminal.ok("verify")


def test_init_makes_a_folder_that_works(terminal: Terminal) -> None:
    """Configuration, folders and ledger; then every step it names works as typed."""
    told = terminal.ok("init").out
    assert "ledger.toml" in told and "ledger new" in told
    assert stat.S_IMODE((terminal.folder / "backups").stat().st_mode) == 0o700
    assert (terminal.folder / "ledger.db").is_file()
    assert terminal.ok("new", "Create users").out == "migrations/001_create_users.sql\n"
    path = terminal.folder / "migrations/001_create_users.sql"
    assert "-- migrate:down" in path.read_text()
    assert Path(terminal.ok("new", "second").out.strip()).name == "002_second.sql"
    ended = terminal.run("tenants")
    assert ended.code == 2 and "data/*.db" in ended.err


def test_init_overwrites_nothing(terminal: Terminal) -> None:
    """A configuration that is there stays as it is."""
    file = terminal.write("ledger.toml", "parallel = 3\n")
    ended = terminal.run("init")
    assert ended.code == 2 and "there already" in ended.err
    assert file.read_text() == "parallel = 3\n"


def test_init_that_fails_leaves_no_configuration(terminal: Terminal) -> None:
    """A ledger that cannot be created: the same command may be typed again."""
    ended = terminal.run("init", "--url", f"mysql://nobody:{CANARY}@127.0.0.1:1/ledger")
    assert ended.code == 1
    assert not (terminal.folder / "ledger.toml").exists()


def test_init_writes_no_password_down(terminal: Terminal) -> None:
    """A password typed in a URL is named by a variable in the file, and told so."""
    url = f"mysql://app:{CANARY}@127.0.0.1:3306"
    told = terminal.ok("init", "new folder", "--mysql", url).out
    text = (terminal.folder / "new folder" / "ledger.toml").read_text()
    assert CANARY not in text
    assert 'mysql = "mysql://app@127.0.0.1:3306"' in text and 'databases = "tenant_%"' in text
    assert 'password_env = "LEDGER_TENANT_PASSWORD"' in text
    assert "LEDGER_TENANT_PASSWORD" in told and "cd 'new folder'" in told


def test_demo_shows_a_migrated_fleet(terminal: Terminal) -> None:
    """Real tenants with 100 rows each, migrated by the code of `ledger migrate`, and shown current."""
    ended = terminal.ok("demo", "--tenants", "12")
    assert "12 migrated" in ended.out and "12 current" in ended.out
    assert ended.out.count("\n  ledger ") == 3
    tenant = terminal.folder / "demo" / "tenants" / "tenant_007.db"
    assert sqlite_rows(tenant, "SELECT count(*), sum(usage_count) FROM assistants") == [(100, 0)]
    status = terminal.ok("--config", "demo/ledger.toml", "status", "--format", "json").json()
    assert status["summary"] == {"current": 12}
    terminal.ok("--config", "demo/ledger.toml", "rehearse", "--all-tenants", "--sample", "2")


def test_demo_goes_on_with_what_is_there(terminal: Terminal) -> None:
    """Typed again nothing is to do; with more tenants, the new ones are added; no other folder is taken."""
    terminal.ok("demo", "there", "--tenants", "3")
    assert (
        "Nothing to do: 3 tenants are current."
        in terminal.ok("demo", "there", "--tenants", "3").out
    )
    more = terminal.ok("demo", "there", "--tenants", "5").out
    assert "2 migrated" in more and "3 already current" in more
    terminal.write("mine/ledger.toml", "parallel = 1\n")
    ended = terminal.run("demo", "mine")
    assert ended.code == 2 and "no demo made it" in ended.err


def test_new_asks_which_set(terminal: Terminal) -> None:
    """With several sets --set is needed; an unknown one is made; a wrong name is refused."""
    terminal.ok("init")
    for name in ("billing", "users"):
        terminal.write(f"migrations/{name}/1.0.0_base.sql", "SELECT 1;\n")
    ended = terminal.run("new", "x")
    assert ended.code == 2 and "billing, users" in ended.err and "--set" in ended.err
    made = terminal.ok("new", "x", "--set", "users").out.strip()
    assert made.endswith("migrations/users/1.1.0_x.sql")
    assert terminal.run("new", "x", "--set", "../up").code == 2
    assert terminal.ok("new", "x", "--set", "mail").out.strip().endswith("mail/001_x.sql")
