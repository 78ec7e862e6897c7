"""How many tenants of one server are worked on at once."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from ledger.fleet.fanout import FanOut
from ledger.fleet.width import START, Width


class Server:
    """`seconds` says how long a tenant takes while so many are worked on."""

    def __init__(self, most: int, seconds: Callable[[int], float]) -> None:
        self.width = Width("here:3306", most)
        self.seconds = seconds
        self.busy = 0
        self.peak = 0
        self.seen: list[int] = []

    async def tenants(self, number: int) -> None:
        """Work on so many, as many at once as the server may have."""

        async def work(_: int) -> None:
            self.busy += 1
            self.peak = max(self.peak, self.busy)
            self.seen.append(self.width.now)
            await anyio.sleep(self.seconds(self.busy))
            self.busy -= 1

        fan = FanOut(work, parallel=number)
        for tenant in range(number):
            fan.add(tenant, self.width)
        await fan.run()


async def test_more_at_once_while_more_gets_done() -> None:
    """A server that takes no longer for many than for few gets all that is allowed, and no more."""
    server = Server(8, lambda busy: 0.02)
    await server.tenants(120)
    assert server.seen[0] == START
    assert server.width.now == server.peak == 8


async def test_no_more_at_once_than_the_server_is_good_for() -> None:
    """Where more at once takes longer altogether, it goes back and stays low but for rare trials."""
    server = Server(8, lambda busy: 0.003 * busy**3)
    await server.tenants(60)
    assert max(server.seen) <= 2 * START
    assert server.seen.count(START) > len(server.seen) / 2


async def test_slow_tenants_get_all_places() -> None:
    """Who waits for long makes room: a server whose tenants take minutes is not worked on two by two."""
    server = Server(4, lambda busy: 3600.0)
    with anyio.move_on_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(server.tenants, 4)
            while server.busy < 4:
                await anyio.sleep(0.05)
            group.cancel_scope.cancel()
    assert server.peak == 4


async def test_one_connection_is_one() -> None:
    """A limit of one is kept."""
    server = Server(1, lambda busy: 0.001)
    await server.tenants(20)
    assert server.peak == 1
