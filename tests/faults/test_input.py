"""Migration files as editors, copies and accidents leave them."""

from __future__ import annotations

import subprocess

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import SQLITE_MIGRATIONS, ServerWorld, World

ALL = ("migrate", "--all-tenants")
VERSIONS = ["001", "002", "003"]


def text_of(world: World) -> str:
    """The first file's text."""
    return (world.root / "migrations" / "001_notes.sql").read_text()


@pytest.mark.fault(28)
@pytest.mark.parametrize("change", ["bom", "crlf", "both"])
def test_a_bom_and_line_ends_change_nothing(change: str, make_world: MakeWorld) -> None:
    """The same checksum, the same statements: a checkout on another system is no edit."""
    world = make_world("sqlite")
    world.ok("migrate", "--all-tenants", "--to", "001")
    for path in (world.root / "migrations").iterdir():
        text = path.read_text()
        if change != "bom":
            text = text.replace("\n", "\r\n")
        path.write_bytes((b"" if change == "crlf" else b"\xef\xbb\xbf") + text.encode())
    world.ok(*ALL)
    calm = make_world("sqlite")
    calm.ok(*ALL)
    world.check(None, VERSIONS)
    rows = {
        name: {key: one[1] for key, one in state.items()} for name, state in world.state().items()
    }
    assert rows == {
        name: {key: one[1] for key, one in state.items()} for name, state in calm.state().items()
    }


@pytest.mark.fault(28, 30)
@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (b"SELECT 1;\nSELECT '\x00';\n", 2),
        (b"SELECT 1;\n\nSELECT '\xff\xfe';\n", 3),
        (b"SELECT 1;\nSELECT 'never closed;\n", 2),
        (b"SELECT 1;\n/* never closed\nSELECT 2;\n", 2),
    ],
    ids=["nul", "utf8", "quote", "comment"],
)
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_what_cannot_run_is_refused_before_anything_does(
    kind: str, bad: bytes, line: int, make_world: MakeWorld
) -> None:
    """File and line are named, and no tenant was touched."""
    world = make_world(kind)
    (world.root / "migrations" / "004_bad.sql").write_bytes(bad)
    ended = world.run(*ALL)
    assert ended.code == 2, ended
    assert f"004_bad.sql:{line}" in ended.err
    assert all(state == {} for state in world.state().values())


@pytest.mark.fault(29)
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_a_statement_of_ten_megabytes(kind: str, make_world: MakeWorld) -> None:
    """It runs, once, and its text is kept."""
    many = ", ".join(f"({number}, '{'x' * 90}')" for number in range(1, 100_001))
    big = (
        "CREATE TABLE {prefix}big (id INTEGER PRIMARY KEY, words VARCHAR(100));\n"
        f"INSERT INTO {{prefix}}big VALUES {many};\n"
    )
    assert len(big) > 10_000_000
    world = make_world(kind, migrations={"001_big.sql": big}, head='backup = "never"\n')
    if isinstance(world, ServerWorld):
        world.ok("migrate", "--tenant", "whole")
        assert world.sql("whole", "SELECT count(*) FROM big") == [(100_000,)]
    else:
        world.ok(*ALL)
        world.check(None, ["001"])
    world.ok("verify")


@pytest.mark.fault(46)
def test_a_restored_database_is_brought_forward(make_world: MakeWorld) -> None:
    """A dump from before 002 was loaded behind our back: the marker came with it, and it is noticed."""
    world = make_world("mariadb")
    assert isinstance(world, ServerWorld)
    port = f"--port={world.server.url.port}"
    # Since 11.4 the clients want TLS, unless told otherwise.
    client = ["--no-defaults", "--host=127.0.0.1", port, "--user=root", "--skip-ssl"]
    world.ok("migrate", "--all-tenants", "--to", "001")
    dump = subprocess.run(
        ["mariadb-dump", *client, world.whole], check=True, capture_output=True
    ).stdout
    world.ok(*ALL)
    expected = world.state()
    world.sql("whole", "DROP TABLE notes, tags, log, ledger_marker")
    subprocess.run(["mariadb", *client, world.whole], input=dump, check=True)
    world.ok(*ALL)
    assert world.state() == expected
    world.check(expected, VERSIONS)
    kinds = [event["body"]["kind"] for event in world.history("whole", "--type", "drift_detected")]
    assert kinds == ["regressed", "cleared"] or kinds == ["regressed"]


def test_the_sqlite_set_is_the_other_one_and_a_vacuum() -> None:
    """Both engines run the same migrations, but for a statement that only SQLite keeps out of transactions."""
    assert "VACUUM" in SQLITE_MIGRATIONS["003_log.sql"]
