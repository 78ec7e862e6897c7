"""Migrating when an application starts: the examples of docs/examples, many replicas of them at once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.place import ENGINES, MakePlace, Place
from tests.servers import ROOT

EXAMPLES = ROOT / "docs" / "examples"
# Drives the lifespan protocol as a server does: start, one request, stop.
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
import anyio
from asgi_app import app

async def main():
    to_app, for_app = anyio.create_memory_object_stream(8)
    from_app, sent = anyio.create_memory_object_stream(8)
    with to_app, for_app, from_app, sent:
        await to_app.send({"type": "lifespan.startup"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, {"type": "lifespan"}, for_app.receive, from_app.send)
            started = await sent.receive()
            print(started["type"], started.get("message", ""))
            if started["type"].endswith("failed"):
                return
            await app({"type": "http"}, for_app.receive, from_app.send)
            assert (await sent.receive())["status"] == 200
            print((await sent.receive())["body"].decode().strip())
            await to_app.send({"type": "lifespan.shutdown"})
            print((await sent.receive())["type"])

anyio.run(main)
"""
# Applies when it is let through, so that a test knows who is at work.
GATED = """
from pathlib import Path

import anyio

HERE = Path({folder!r})


async def up(tenant):
    (HERE / "entered").touch()
    with anyio.fail_after(60):
        while not (HERE / "go").exists():
            await anyio.sleep(0.02)
    await tenant.execute("CREATE TABLE gated (id INTEGER PRIMARY KEY)")
"""


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path, make_place: MakePlace) -> Iterator[Place]:
    """Two tenants, and a migration that waits for the file `go`."""
    made = make_place(
        request.param,
        head="allow_python = true\nworkers = 0",
    )
    made.migration("001_notes.sql", "CREATE TABLE notes (id INTEGER PRIMARY KEY);")
    made.migration("002_gated.py", GATED.format(folder=str(tmp_path)))
    yield made
    (tmp_path / "go").touch()


def start(place: Place, *arguments: str, config: str = "ledger.toml") -> subprocess.Popen[str]:
    """A replica in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=place.folder,
        env={"LEDGER_CONFIG": config, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def serve(place: Place, config: str = "ledger.toml") -> subprocess.Popen[str]:
    """A replica of the ASGI application."""
    return start(place, "-c", SERVER, str(EXAMPLES), config=config)


def script(place: Place, config: str = "ledger.toml") -> subprocess.Popen[str]:
    """A replica of the plain script."""
    return start(place, str(EXAMPLES / "on_start.py"), config, config=config)


def until_at_work(place: Place) -> None:
    """Wait until a replica stands in the gated migration."""
    deadline = time.monotonic() + 60
    while not (place.folder / "entered").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def impatient(place: Place) -> str:
    """The same configuration for a replica that waits for a moment only; its file's name."""
    text = (place.folder / "ledger.toml").read_text(encoding="utf-8")
    head, tenants = text.split("[[tenants]]")
    (place.folder / "impatient.toml").write_text(
        f"{head}\n[timeouts]\nwait_seconds = 0.2\n[[tenants]]{tenants}", encoding="utf-8"
    )
    return "impatient.toml"


def test_of_many_replicas_one_works_and_the_others_wait(place: Place) -> None:
    """Servers and scripts started together all come up, and every migration ran once per tenant."""
    replicas = [serve(place)]
    until_at_work(place)
    replicas += [serve(place), script(place), serve(place), script(place)]
    (place.folder / "go").touch()
    for replica in replicas:
        out, err = replica.communicate(timeout=100)
        assert replica.returncode == 0, err
        if out:
            assert out.splitlines() == [
                "lifespan.startup.complete ",
                "ready",
                "lifespan.shutdown.complete",
            ]
    for tenant in place.names:
        assert {"notes", "gated"} <= place.objects(tenant)
        assert len(place.events(tenant, "step_applied")) == 2
        assert len(place.events(tenant, "completed")) == 2


def test_a_replica_waits_no_longer_than_it_may(place: Place) -> None:
    """After `timeouts.wait_seconds` it does not start, and says who is at work; the other one ends well."""
    first = serve(place)
    until_at_work(place)
    second, third = serve(place, impatient(place)), script(place, impatient(place))
    out, _ = second.communicate(timeout=100)
    assert out.startswith("lifespan.startup.failed")
    assert f"process {first.pid}" in out
    _, err = third.communicate(timeout=100)
    assert third.returncode == 3
    assert f"process {first.pid}" in err
    (place.folder / "go").touch()
    out, err = first.communicate(timeout=100)
    assert out.startswith("lifespan.startup.complete"), err


def test_a_tenant_that_fails_keeps_the_application_from_starting(place: Place) -> None:
    """The message names the tenant and what the database said."""
    place.migration("002_gated.py", "async def up(tenant):\n    await tenant.execute('NO SQL')\n")
    out, _ = serve(place).communicate(timeout=100)
    assert out.startswith("lifespan.startup.failed")
    assert all(name in out for name in place.names)
    replica = script(place)
    _, err = replica.communicate(timeout=100)
    assert replica.returncode == 3
    assert place.names[0] in err
