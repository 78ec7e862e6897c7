"""Files that decide what is run: refused where somebody else can change them."""

from __future__ import annotations

import grp
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, sqlite_run

OTHER = 12345
"""An account that is neither root nor ours."""

PLAIN = 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n'
NAMES = {
    "password_command": 'password_command = ["printf", "word"]\n',
    "password_file": 'password_file = "word"\n',
    "allow_python": "allow_python = true\n",
}


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    """One tenant and a migration in Python, in a folder of its own."""
    folder = tmp_path / "place"
    folder.mkdir(mode=0o755)
    made = Terminal(folder, monkeypatch, capsys)
    made.write("migrations/app/001_users.py", "async def up(tenant):\n    pass\n")
    made.write("word", "word\n")
    sqlite_run(folder / "data/acme.db", "CREATE TABLE mine (x)")
    return made


def mode(path: str, bits: int) -> Callable[[], None]:
    """Change a mode."""
    return lambda: Path(path).chmod(bits)


def as_link(target: str) -> None:
    """Move the configuration into a folder that others can write, and leave a link to it."""
    Path("open").mkdir()
    shutil.move("ledger.toml", "open/ledger.toml")
    Path("open").chmod(0o777)
    Path("ledger.toml").symlink_to(target)


def behind_link() -> None:
    """Move the configuration where nobody else can write, and leave a link in a folder where others can."""
    Path("../safe").mkdir(mode=0o755)
    shutil.move("ledger.toml", "../safe/ledger.toml")
    Path("ledger.toml").symlink_to("../safe/ledger.toml")
    Path().chmod(0o777)


def of_group(gid: int) -> None:
    """Give the configuration to another group, which may write."""
    os.chown("ledger.toml", 0, gid)
    Path("ledger.toml").chmod(0o664)


def above() -> None:
    """A folder further up that everybody can write."""
    Path("..").chmod(0o777)


CHANGED: dict[str, Callable[[], None]] = {
    "by everybody": mode("ledger.toml", 0o646),
    "by a group": lambda: of_group(1),
    "by its owner": lambda: os.chown("ledger.toml", OTHER, 0),
    "by who can write the folder": mode(".", 0o777),
    "by the folder's owner": lambda: os.chown(".", OTHER, 0),
    "by who can write where a link leads": lambda: as_link("open/ledger.toml"),
    "by who can write where a link lies": behind_link,
    "by who can write further up": above,
}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")


@needs_root
@pytest.mark.parametrize("key", NAMES)
@pytest.mark.parametrize("changed", CHANGED)
def test_a_dangerous_configuration_that_others_can_change_is_refused(
    terminal: Terminal, key: str, changed: str
) -> None:
    """It is named, with the key that makes it dangerous and what mends it; nothing is run or made."""
    text = PLAIN if key == "allow_python" else PLAIN.replace('sqlite = "data/*.db"\n', "")
    if key != "allow_python":
        text += 'mysql = "mysql://app@127.0.0.1:1/x"\n'
    terminal.write("ledger.toml", NAMES[key] + text if key == "allow_python" else text + NAMES[key])
    CHANGED[changed]()
    for command in (("migrate", "--all-tenants"), ("status",), ("doctor",)):
        ended = terminal.run(*command)
        assert ended.code == 2 and f"its {key} " in ended.err, ended
        assert "hint: ch" in ended.err
    assert not Path("ledger.db").exists()


@needs_root
def test_a_harmless_configuration_may_be_shared(terminal: Terminal) -> None:
    """Without such a key, a team may edit the file together."""
    shutil.rmtree("migrations")
    terminal.write("migrations/app/001_users.sql", "CREATE TABLE users (id INTEGER);\n")
    terminal.write("ledger.toml", PLAIN)
    Path("ledger.toml").chmod(0o666)
    Path("migrations/app").chmod(0o777)
    terminal.ok("migrate", "--all-tenants")


@needs_root
def test_what_only_its_owner_can_change_is_used(terminal: Terminal) -> None:
    """Readable for all, in a folder with the sticky bit, of a group without another member."""
    terminal.write("ledger.toml", NAMES["allow_python"] + PLAIN)
    Path("ledger.toml").chmod(0o664)
    Path().chmod(0o1777)
    terminal.ok("migrate", "--all-tenants")


@needs_root
def test_a_group_with_other_members_is_not_ones_own(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is this account's primary one."""
    terminal.write("ledger.toml", NAMES["allow_python"] + PLAIN)
    Path("ledger.toml").chmod(0o664)
    group = grp.struct_group(("root", "x", 0, ["root", "another"]))
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)
    assert "its allow_python " in terminal.run("migrate", "--all-tenants").err


@needs_root
@pytest.mark.parametrize("path", ["migrations/app/001_users.py", "migrations/app", "migrations"])
@pytest.mark.parametrize("how", ["written", "owned"])
def test_python_that_others_can_change_is_not_run(terminal: Terminal, path: str, how: str) -> None:
    """The file, its folder, and the folder of that."""
    terminal.write("ledger.toml", NAMES["allow_python"] + PLAIN)
    if how == "written":
        Path(path).chmod(0o777)
    else:
        os.chown(path, OTHER, 0)
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 2 and path in ended.err and "Python" in ended.err, ended
    assert not Path("data/acme.db-journal").exists()


@needs_root
@pytest.mark.parametrize("how", ["written", "owned", "folder"])
def test_a_password_file_that_others_can_change_is_not_read(terminal: Terminal, how: str) -> None:
    """Whoever could change it could send this account to another server's account."""
    Path("migrations/app/001_users.py").unlink()
    terminal.write("migrations/app/001_users.sql", "CREATE TABLE users (id INT);\n")
    terminal.write("secret/word", "word\n")
    terminal.write(
        "ledger.toml",
        'migrations = "migrations"\n[[tenants]]\nmysql = "mysql://app@127.0.0.1:1/x"\n'
        'password_file = "secret/word"\n',
    )
    if how == "written":
        Path("secret/word").chmod(0o602)
    elif how == "owned":
        os.chown("secret/word", OTHER, 0)
    else:
        Path("secret").chmod(0o777)
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code != 0 and "it is a password" in ended.out + ended.err, ended
