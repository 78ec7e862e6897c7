"""What a run and its worker processes say to each other, and how it is framed.

A frame is a length of four bytes and a pickle: both ends are this program, and
the pipe is theirs alone. Invariant: nothing that came from a tenant or from a
file is ever unpickled, only what the other end built from it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.streams.buffered import BufferedByteReceiveStream

from ledger import events as ev
from ledger.engines.base import Target
from ledger.plan import Catalogue, Options
from ledger.projections import TenantState
from ledger.runner.context import Settings
from ledger.runner.outcome import Outcome

LENGTH: Final = struct.Struct("!I")
FLUSH_BYTES: Final = 1 << 16


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to a worker: the run, and all that its tenants have in common."""

    run: str
    actor: str
    command: ev.Command
    reason: str
    ledger_id: str
    settings: Settings
    options: Options
    catalogues: tuple[Catalogue, ...]
    limits: dict[str, float]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant to migrate. `catalogue` is an index into Hello's; `state` is what the ledger knows."""

    number: int
    target: Target
    state: TenantState
    catalogue: int
    inspect: bool


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Roll the job back and say how it ended."""

    number: int


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """The run's lease was renewed; `until` is on the clock that both processes share (boot time)."""

    until: float


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A worker asks the ledger's store: a method and its arguments."""

    number: int
    method: str
    arguments: tuple[Any, ...]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The store's answer, or the error it raised."""

    number: int
    value: Any = None
    error: Trouble | None = None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A store's error as a value; `conflict` is (stream, expected, found)."""

    message: str
    hint: str = ""
    conflict: tuple[str, int, int] | None = None


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the watcher is to be told: a method and its arguments."""

    method: str
    arguments: tuple[Any, ...]


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A job's end; no outcome means that it was cancelled."""

    number: int
    outcome: Outcome | None


class Sender:
    """Sends messages in order; those that gather while one is being written go out together."""

    def __init__(self, stream: ByteSendStream) -> None:
        self._stream = stream
        self._waiting: list[bytes] = []
        self._more = anyio.Event()
        self._closed = False

    def send(self, message: object) -> None:
        """Queue a message; `run` writes it."""
        body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        self._waiting.append(LENGTH.pack(len(body)) + body)
        self._more.set()

    def close(self) -> None:
        """Let `run` end once everything is written."""
        self._closed = True
        self._more.set()

    async def run(self) -> None:
        """Write until closed. Raises what the stream raises when the other end is gone."""
        while True:
            await self._more.wait()
            self._more = anyio.Event()
            batch, self._waiting = self._waiting, []
            if batch:
                await self._stream.send(b"".join(batch))
            if self._closed and not self._waiting:
                return


class Receiver:
    """Receives messages one by one."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = BufferedByteReceiveStream(stream)

    async def receive(self) -> Any:
        """The next message. Raises anyio.EndOfStream or IncompleteRead when the other end is gone."""
        (length,) = LENGTH.unpack(await self._stream.receive_exactly(LENGTH.size))
        return pickle.loads(await self._stream.receive_exactly(length))  # noqa: S301 - our own process


GONE: Final[Sequence[type[Exception]]] = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)
