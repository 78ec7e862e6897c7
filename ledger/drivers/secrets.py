"""Passwords from where they are kept, read as late as possible.

Invariant: no error from here repeats what was read, nor what a command printed, and each
reading has a limit of its own. Only a command's answer is kept between connections, for as
long as its `Ledger` lives: it may cost a second and a finger on a key. A file or a variable is
read anew each time.
"""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import time
from collections.abc import MutableMapping
from typing import Final
from weakref import WeakKeyDictionary

import anyio

from ledger.drivers.trusted import refuse_changed_by_others
from ledger.drivers.url import Secret, SecretSource
from ledger.errors import ConfigError

COMMAND_SECONDS: Final = 60.0
"""How long a password command may take; it may be waiting for a person."""

FILE_SECONDS: Final = 60.0
"""How long a password file may take that is a pipe: what writes into it may be waiting for a person too."""
MAX_BYTES: Final = 65_536
"""How long a password file may be: longer ones are no passwords."""


class Asking:
    """A command that was started and has not answered yet. `done` is one event loop's."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.answer: Secret | None = None
        self.error: ConfigError | None = None


class Secrets:
    """What commands answered, for one `Ledger`.

    Any number of event loops, each in its thread, may ask: those of one loop that need the same
    command wait for the first of them, and another loop asks for itself.
    """

    def __init__(self) -> None:
        self._answers: dict[tuple[str, ...], Secret] = {}
        self._asking: MutableMapping[object, dict[tuple[str, ...], Asking]] = WeakKeyDictionary()

    async def of_command(self, command: tuple[str, ...], *, refused: Secret | None) -> Secret:
        """The command's answer. Raises ConfigError, for all that waited, if it gives none."""
        here = self._asking.setdefault(asyncio.get_running_loop(), {})
        while True:
            kept = self._answers.get(command)
            if kept is not None and kept != refused:
                return kept
            asking = here.get(command)
            if asking is None:
                return await self._ask(command, here)
            await asking.done.wait()
            if asking.error is not None:
                raise ConfigError(asking.error.message, hint=asking.error.hint)
            if asking.answer is not None:
                return asking.answer

    async def _ask(self, command: tuple[str, ...], here: dict[tuple[str, ...], Asking]) -> Secret:
        asking = here[command] = Asking()
        try:
            asking.answer = self._answers[command] = await _run(command)
        except ConfigError as error:
            asking.error = error
            raise
        finally:
            del here[command]
            asking.done.set()
        return asking.answer

    def clear(self) -> None:
        """Forget every answer."""
        self._answers.clear()


async def read_secret(source: SecretSource, *, refused: Secret | None = None) -> Secret | None:
    """The password, or None where no source is named.

    `refused` is what the server has just turned down: a kept answer equal to it
    is asked for again. Raises ConfigError, which names the source.
    """
    if source.value is not None:
        return source.value
    if source.env is not None:
        value = os.environ.get(source.env)
        if value is None:
            raise ConfigError(
                f"the environment variable {source.env} (password_env) is not set",
                hint=f"Set {source.env}, or name another password source.",
            )
        return Secret(value)
    if source.file is not None:
        return await _from_file(source.file)
    if source.command is not None:
        kept = source.kept if isinstance(source.kept, Secrets) else Secrets()
        return await kept.of_command(source.command, refused=refused)
    return None


async def _from_file(path: str) -> Secret:
    refuse_changed_by_others(path, why="it is a password")
    try:
        text = (await anyio.to_thread.run_sync(_read_bounded, path)).decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        if type(error) is ValueError:
            reason = str(error)
        raise ConfigError(
            f"the password file {path} cannot be read: {reason}",
            hint="Check the path and its permissions.",
        ) from None
    return Secret(text.rstrip("\r\n"))


def _read_bounded(path: str) -> bytes:
    """A pipe is read to its end, as `<(op read …)` is one. Raises ValueError for what is no password.

    Nothing here waits without a limit: a thread that does cannot be given up.
    """
    deadline = time.monotonic() + FILE_SECONDS
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        data = b""
        while len(data) <= MAX_BYTES:
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ValueError(f"nothing was written into it within {FILE_SECONDS:.0f} s")
            more = os.read(descriptor, MAX_BYTES + 1)
            if not more:
                return data
            data += more
    finally:
        os.close(descriptor)
    raise ValueError(f"it is longer than {MAX_BYTES} bytes")


async def _run(command: tuple[str, ...]) -> Secret:
    try:
        with anyio.fail_after(COMMAND_SECONDS):
            done = await anyio.run_process(
                list(command), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
            )
    except TimeoutError:
        raise ConfigError(
            f"password_command {command[0]!r} gave no answer within {COMMAND_SECONDS:.0f} s",
            hint="Run the command by hand and see what it waits for.",
        ) from None
    except OSError as error:
        raise ConfigError(
            f"password_command {command[0]!r} cannot be started: {error.strerror}",
            hint="Give the command as a list, its program first; no shell reads it.",
        ) from None
    if done.returncode != 0:
        raise ConfigError(
            f"password_command {command[0]!r} ended with exit code {done.returncode}",
            hint="Run the command by hand and see what it says.",
        )
    return Secret(done.stdout.decode("utf-8", "surrogateescape").rstrip("\r\n"))
