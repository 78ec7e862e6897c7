"""What `Ledger`'s arguments may be: the same as the command line lets through.

Invariant: a word, a number or a type that means nothing here is refused before anything is
opened. Nobody guesses what was meant, and no event keeps what its readers could not decode.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ledger.errors import UsageError

HOW: Final = ("auto", "script", "backup")
POLICIES: Final = ("always", "each", "auto", "never")


def require_arguments(**arguments: object) -> None:
    """Raises UsageError for the first argument that is not what its name stands for."""
    for name, value in arguments.items():
        _RULES[name](name, value)


def patterns(tenants: object) -> list[str]:
    """One name or glob, or several, as a list. Raises UsageError for what is neither."""
    if isinstance(tenants, str):
        return [tenants]
    if isinstance(tenants, Iterable) and not isinstance(tenants, (bytes, bytearray, Mapping)):
        names = list(tenants)
        if all(isinstance(one, str) for one in names):
            return names
    raise UsageError(
        f"tenants is {tenants!r}", hint="Give a name, a pattern with * and ?, or a list of them."
    )


def require_restored(backup: object) -> None:
    """Raises UsageError for what names no backup: neither an event's seq nor a path."""
    if backup is not None and not isinstance(backup, str):
        _count("backup", backup)


def require_acceptable(*, accept: bool, schema: object, reason: str) -> None:
    """Raises UsageError for a difference that is accepted from a file, or without a reason."""
    if accept and schema is not None:
        raise UsageError(
            "what differs from a file cannot be accepted",
            hint="Leave --schema out: accepted is what differs from what the migrations define.",
        )
    if accept and not reason.strip():
        raise UsageError(
            "accepting a difference needs a reason", hint='Add --reason "why it may stay".'
        )
    if reason and not accept:
        raise UsageError("a reason is for --accept only", hint="Add --accept, or leave it out.")


def require_source(source: object) -> None:
    """Raises UsageError for what `rehearse` has no copies from."""
    _one_of("auto", "backup", "live")("source", source)


def _one_of(*words: str, optional: bool = False) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if value in words or (optional and value is None):
            return
        near = difflib.get_close_matches(str(value), words, n=1)
        raise UsageError(
            f"{name} is {value!r}",
            hint=(f"Did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(words)}.",
        )

    return check


def _at_least(least: int) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if value is None or (type(value) is int and value >= least):
            return
        raise UsageError(f"{name} is {value!r}", hint=f"Give a whole number, {least} or more.")

    return check


_count: Final = _at_least(1)


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}", hint="Give True or False.")


def _flag_or_none(name: str, value: object) -> None:
    if value is not None:
        _flag(name, value)


def _text(name: str, value: object) -> None:
    """Text that a ledger can keep: lone surrogates, of names that are not UTF-8, it cannot."""
    if not isinstance(value, str):
        raise UsageError(f"{name} is {value!r}, which is no text", hint=f"Give {name} as a string.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not UTF-8 text: {value!r}", hint="Give it in UTF-8.") from None


def _word(name: str, value: object) -> None:
    """Text that chooses something. An empty one is a slip: it would choose nothing, or all."""
    if value is None:
        return
    _text(name, value)
    if not value:
        raise UsageError(f"{name} is empty", hint="Look at what was to fill it, or leave it out.")


def _path(name: str, value: object) -> None:
    if not isinstance(value, os.PathLike):
        _word(name, value)


def _failures(name: str, value: object) -> None:
    if not isinstance(value, str):
        _at_least(0)(name, value)


_RULES: Final[dict[str, Callable[[str, object], None]]] = {
    "accept": _flag,
    "actor": _word,
    "anchor": _word,
    "apply": _flag,
    "at": _word,
    "backup": _one_of(*POLICIES, optional=True),
    "batch": _count,
    "before": _word,
    "by": _one_of(*HOW),
    "column": _word,
    "config": _path,
    "drop_all": _flag,
    "env": _word,
    "estimate": _flag,
    "explain": _path,
    "how": _one_of("applied", "not_applied", "restore"),
    "keep": _at_least(0),
    "limit": _count,
    "mark_only": _flag,
    "max_failures": _failures,
    "migration": _word,
    "older_than": _word,
    "on_error": _one_of("continue", "stop"),
    "out_of_order": _flag_or_none,
    "parallel": _count,
    "quick": _flag,
    "reason": _text,
    "rebuild": _flag,
    "registry": _word,
    "run": _word,
    "sample": _count,
    "schema": _path,
    "scope": _word,
    "set_name": _word,
    "since": _word,
    "source": _word,
    "steps": _count,
    "table": _word,
    "task": _one_of("optimize", "orphans", "archive"),
    "tenant": _word,
    "to": _word,
    "type": _word,
    "until": _word,
}
"""By name: an argument means the same in every method; the two that do not are above."""
