"""Networks that lose every packet: no reset, no end, no acknowledgement, for as long as one waits.

The packets are really lost where a network namespace can be made (tests/faults/link.py: as
root); elsewhere a proxy swallows what comes, as it always does in test_network.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.link import link
from tests.faults.proxy import Proxy
from tests.faults.world import ServerWorld
from tests.servers import Server

ALL = ("migrate", "--all-tenants")
VERSIONS = ["001", "002", "003"]
HEAD = "[timeouts]\nconnect_seconds = 2.0\nstatement_seconds = 2.0\n"


class Network:
    """Between a command and a server. `real`: packets are lost, not swallowed."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self._link = stack.enter_context(link())
        self.real = self._link is not None
        self.proxy = Proxy(server.url.port, host=self._link.here if self._link else "127.0.0.1")
        stack.callback(self.proxy.close)

    def reach(self, world: ServerWorld) -> None:
        """Let the world's configuration say how its server is reached from the other side."""
        config = world.root / "ledger.toml"
        there = f"{self.proxy.host}:{self.proxy.port}"
        config.write_text(config.read_text().replace(f"127.0.0.1:{world.server.url.port}", there))

    def run(self, world: ServerWorld, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command on the other side."""
        inside = self._link.inside if self._link else ()
        return subprocess.run(
            [*inside, sys.executable, "-m", "ledger", *arguments],
            cwd=world.root,
            env={**os.environ, **world.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def lose(self) -> None:
        """Nothing gets through any more."""
        if self._link is None:
            self.proxy.swallow()
        else:
            self._link.lose()

    def carry(self) -> None:
        """Everything gets through again."""
        if self._link is None:
            self.proxy.swallow(silent=False)
            self.proxy.cut()
        else:
            self._link.carry()


@pytest.fixture
def network(
    own_server: Server, record_property: Callable[[str, object], None]
) -> Iterator[Network]:
    """A network of this test's own; what it is made of is in the test's report."""
    with ExitStack() as stack:
        made = Network(own_server, stack)
        record_property("network", "packets lost" if made.real else "swallowed by a proxy")
        yield made


def behind(network: Network, on: str, make_world: MakeWorld) -> ServerWorld:
    """Tenants behind that network; the ledger is on this side."""
    world = make_world(on, local_ledger=True, head=HEAD)
    assert isinstance(world, ServerWorld)
    network.reach(world)
    return world


@pytest.mark.fault(16)
def test_a_server_that_no_packet_reaches(on: str, network: Network, make_world: MakeWorld) -> None:
    """Not even a connection comes about: every tenant is named; once there is a way again, all is done."""
    world = behind(network, on, make_world)
    network.lose()
    ended = network.run(world, *ALL)
    assert ended.returncode == 3, ended
    for tenant in world.tenants:
        assert f"{tenant}: unreachable" in ended.stdout
    network.carry()
    again = network.run(world, *ALL)
    assert again.returncode == 0, again
    world.check(None, VERSIONS)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.fault(16)
def test_packets_lost_in_the_middle_of_a_statement(
    on: str, network: Network, make_world: MakeWorld
) -> None:
    """The server runs it, its answer is lost: the statement's deadline ends the wait, the next run settles it."""
    undisturbed = make_world(on)
    undisturbed.ok(*ALL)
    world = behind(network, on, make_world)

    def lose(sent: bytes) -> bool:
        if b"ADD COLUMN" in sent:
            network.proxy.cut_after(None)
            network.lose()
        return False

    network.proxy.cut_after(lose)
    ended = network.run(world, *ALL)
    assert ended.returncode == 3, ended
    network.carry()
    again = network.run(world, *ALL)
    assert again.returncode == 0, again
    world.check(undisturbed.state(), VERSIONS)
