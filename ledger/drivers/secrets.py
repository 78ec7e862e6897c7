"""Passwords from where they are kept, read as late as possible.

Invariant: no error from here repeats what was read, nor what a command printed.
Only a command's answer is kept between connections: it may cost a second and a
finger on a key; a file or a variable is read anew each time.
"""

from __future__ import annotations

import os
import subprocess
from typing import Final

import anyio

from ledger.drivers.url import Secret, SecretSource
from ledger.errors import ConfigError

COMMAND_SECONDS: Final = 60.0
"""How long a password command may take; it may be waiting for a person."""

MAX_BYTES: Final = 65_536
"""How long a password file may be: longer ones are no passwords."""

_answers: dict[tuple[str, ...], Secret] = {}
_asking: dict[tuple[str, ...], anyio.Lock] = {}


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
        return await _from_command(source.command, refused=refused)
    return None


async def _from_file(path: str) -> Secret:
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
    """A pipe is read to its end, as `<(op read …)` is one. Raises ValueError for what is no password."""
    with open(path, "rb") as file:  # noqa: PTH123 - a path as the configuration has it
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    return data


async def _from_command(command: tuple[str, ...], *, refused: Secret | None) -> Secret:
    """Ask once for all who wait: many tenants of one server open at the same time."""
    lock = _asking.setdefault(command, anyio.Lock())
    try:
        async with lock:
            kept = _answers.get(command)
            if kept is None or kept == refused:
                kept = _answers[command] = await _run(command)
            return kept
    finally:
        if not lock.statistics().tasks_waiting:
            _asking.pop(command, None)


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
