"""What a message says to type next works when it is typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, sqlite_rows, sqlite_run
from tests.programs import Ended

CONFIG = 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n'
USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY);\n-- migrate:down\nDROP TABLE users;\n"
NAMES = ("acme", "beta one")


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """Two tenants, one of whose names a shell would split, with one migration applied."""
    terminal.write("ledger.toml", CONFIG)
    terminal.write("migrations/app/001_users.sql", USERS)
    for name in NAMES:
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    terminal.ok("migrate", "--all-tenants")
    return terminal


def named(text: str) -> list[list[str]]:
    """The commands that a text names, without the program."""
    return [shlex.split(found)[1:] for found in re.findall(r"`(ledger [^`]+)`", text)]


def continued(ended: Ended) -> list[str] | None:
    """What follows `To continue:`, without the program."""
    found = re.search(r"To continue: (ledger .*)", ended.out + ended.err)
    return shlex.split(found[1])[1:] if found else None


def test_a_file_that_had_to_change_is_counted_anew(terminal: Terminal) -> None:
    """Typed for each tenant, what the refusal names takes the file as it is now, and runs nothing."""
    terminal.write("migrations/app/001_users.sql", f"-- reworded\n{USERS}")
    refused = terminal.run("migrate", "--all-tenants")
    assert refused.code == 1 and "edited after it ran" in refused.err
    for words in named(" ".join(refused.err.split())):
        for name in NAMES:
            terminal.ok(*(name if word == "NAME" else word for word in words), "-y")
    assert terminal.ok("migrate", "--all-tenants").out.startswith("Nothing to do")


def test_a_hint_names_the_tenant_that_it_is_about(terminal: Terminal) -> None:
    """The command of the hint is the way out, typed as it is."""
    (terminal.folder / "data/beta one.db").write_text("no database")
    ended = terminal.run("migrate", "--all-tenants")
    (command,) = [one for one in named(ended.out) if one[0] == "restore"]
    assert command == ["restore", "--tenant", "beta one"]
    (terminal.folder / "data/beta one.db").unlink()
    sqlite_run(terminal.folder / "data/beta one.db", "CREATE TABLE other (x)")
    terminal.ok(*command, "-y")
    terminal.ok("migrate", "--all-tenants")


def test_a_hint_of_many_tenants_is_printed_once(terminal: Terminal) -> None:
    """Alike but for the name: NAME stands for it, and JSON has each tenant's own."""
    for name in NAMES:
        (terminal.folder / f"data/{name}.db").write_text("no database")
    out = terminal.run("migrate", "--all-tenants").out
    assert out.count("hint: ") == 1 and "`ledger restore --tenant NAME`" in out
    outcomes = terminal.run("migrate", "--all-tenants", "--format", "json").json()["outcomes"]
    assert all(
        f"--tenant {shlex.quote(name)}`" in one["hint"]
        for name, one in zip(NAMES, outcomes, strict=True)
    )
    out = terminal.run("validate").out
    assert "`ledger restore --tenant acme`" in out and "--tenant 'beta one'`" in out


def test_to_continue_follows_what_the_same_command_goes_on_with(terminal: Terminal) -> None:
    """A failed step, once it is corrected."""
    bad = terminal.write("migrations/app/002_bad.sql", "SELECT * FROM nothing;\n")
    ended = terminal.run("migrate", "--all-tenants")
    assert ended.code == 3
    command = continued(ended)
    assert command == ["migrate", "--all-tenants"]
    bad.write_text("SELECT 1;\n")
    terminal.ok(*command)


def test_to_continue_does_not_follow_a_refusal(terminal: Terminal) -> None:
    """Where the same command would be refused for ever, the hint's is the one to type."""
    terminal.write("migrations/app/002_more.sql", "CREATE TABLE more (x);\n")
    for name in ("003_a", "004_b"):
        terminal.write(f"migrations/app/{name}.sql", f"CREATE TABLE t{name} (x);\n")
    terminal.ok("migrate", "--all-tenants")
    ended = terminal.run("rollback", "003", "--tenant", "acme", "-y")
    assert ended.code == 3 and "hint: " in ended.out
    assert continued(ended) is None, ended
    ended = terminal.run("rollback", "--tenant", "acme", "--by", "script", "-y", "-q")
    assert ended.code == 3 and continued(ended) is None


def test_a_tenant_may_be_named_in_either_way(terminal: Terminal) -> None:
    """TENANT and --tenant, where one tenant is meant; not both."""
    for command in ("history", "schema"):
        plain = terminal.ok(command, "beta one", "--format", "json").out
        assert terminal.ok(command, "--tenant", "beta one", "--format", "json").out == plain
        assert terminal.run(command, "acme", "--tenant", "acme").code == 2
    assert terminal.run("schema").code == 2
    assert "name the tenant" in terminal.run("resolve", "--applied").err
    for form in (("acme",), ("--tenant", "acme")):
        ended = terminal.run("resolve", *form, "--applied", "-y")
        assert ended.code != 2, ended


def test_a_file_name_that_is_proposed_is_taken(terminal: Terminal) -> None:
    """The hint of a wrong name leads to one that works, not to the next refusal."""
    for wrong in ("002_x.up.sql", "3-Add Index.sql", "V4__More.sql", "005.sql"):
        path = terminal.write(f"migrations/app/{wrong}", "SELECT 1;\n")
        ended = terminal.run("plan")
        if ended.code != 0:
            right = re.search(r"as in (\S+?)\.?$", ended.err, re.MULTILINE)
            assert right is not None, ended
            path.rename(path.with_name(right[1]))
            path = path.with_name(right[1])
        assert terminal.run("plan").code == 0, (wrong, ended)
        path.unlink()
    assert sqlite_rows(terminal.folder / "data/acme.db", "SELECT count(*) FROM users") == [(0,)]
