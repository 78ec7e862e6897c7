"""A migration that takes too long: one limit on every engine, from the configuration or version.json."""

from __future__ import annotations

import json

import pytest

from tests.faults.conftest import MakeWorld

SLOW = {
    "sqlite": "CREATE TABLE {prefix}slow AS WITH RECURSIVE n(x) AS"
    " (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS x FROM n;\n",
    "mariadb": "CREATE TABLE {prefix}slow AS SELECT SLEEP(300) AS x;\n",
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("where", ["ledger.toml", "version.json"])
def test_it_is_stopped_and_says_what_to_raise(kind: str, where: str, make_world: MakeWorld) -> None:
    """The limit that was set is the one that is told, and the hint names both places to raise it."""
    head = "[timeouts]\nstatement_seconds = 1\n" if where == "ledger.toml" else ""
    world = make_world(kind, head=head, migrations={"001_slow.sql": SLOW[kind]})
    if where == "version.json":
        manifest = {"migrations": [{"version": "001", "migration_timeout_seconds": 1}]}
        (world.root / "migrations/version.json").write_text(json.dumps(manifest))
    ended = world.run("migrate", "--tenant", world.tenants[0])
    assert ended.code == 3, ended
    assert "timed out after 1 s" in ended.out
    assert "migration_timeout_seconds" in ended.out
    assert "statement_seconds" in ended.out
    assert world.ok("status", "--format", "json").json()["tenants"][0]["lock"] is None
