"""A TCP proxy between the product and a server, which cuts, swallows, delays and rewrites on demand.

It runs in a thread with an event loop of its own, so that tests and the campaign
can use it from anywhere.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Watch = Callable[[bytes], bool]


class Proxy:
    """Listens on `port` of `host` and forwards to `upstream` of 127.0.0.1.

    `instead` are words that the server gets for others (of the same length) of the client.
    """

    def __init__(self, upstream: int, *, host: str = "127.0.0.1") -> None:
        self.upstream = upstream
        self.host = host
        self.port = 0
        self.connections = 0
        self.delay_seconds = 0.0
        self.instead: dict[bytes, bytes] = {}
        self._silent = False
        self._cut_after: Watch | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def close(self) -> None:
        """Cut everything and stop listening."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut(self) -> None:
        """Reset every connection, both ways, at once."""
        self._loop.call_soon_threadsafe(self._cut)

    def cut_after(self, watch: Watch | None) -> None:
        """Once the client has sent what `watch` recognises: pass it on, and cut before the answer."""
        self._cut_after = watch

    def swallow(self, *, silent: bool = True) -> None:
        """A black hole: connections stay open (new ones are accepted) and nothing passes."""
        self._silent = silent

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, self.host, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._cut()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        with suppress(asyncio.CancelledError):
            await self._both(reader, writer, there, back)

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        mine = {writer, back}
        self._open |= mine
        try:
            await asyncio.gather(
                self._pump(reader, back, from_client=True, mine=mine),
                self._pump(there, writer, from_client=False, mine=mine),
            )
        finally:
            for one in mine:
                one.transport.abort()
            self._open -= mine

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        *,
        from_client: bool,
        mine: set[asyncio.StreamWriter],
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                while self._silent:
                    await asyncio.sleep(0.02)
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                for words, others in self.instead.items() if from_client else ():
                    assert len(words) == len(others)
                    data = data.replace(words, others)
                sink.write(data)
                await sink.drain()
                watch = self._cut_after
                if from_client and watch is not None and watch(data):
                    self._cut_after = None
                    # The server gets what was sent; its answer gets nowhere.
                    for one in mine - {sink}:
                        one.transport.abort()
                    await asyncio.sleep(0.2)
                    return
        for one in mine:
            one.transport.abort()


@contextmanager
def proxy(upstream: int) -> Iterator[Proxy]:
    """A proxy for the block."""
    made = Proxy(upstream)
    try:
        yield made
    finally:
        made.close()
