"""A request, and how its arguments are checked: by the types of its fields, once.

Invariant: a word, a number or a type that means nothing is refused before anything is opened.
Nothing is guessed, and no event keeps what its readers could not decode.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Concatenate, ParamSpec, TypeVar

import msgspec
from msgspec import Meta

from ledger.errors import UsageError

Tenants = str | Sequence[str]
"""One name or glob, or several."""

Word = Annotated[str, Meta(min_length=1)]
"""Text that chooses something. An empty one is a slip: it would choose nothing, or all."""

Count = Annotated[int, Meta(ge=1)]
Number = Annotated[int, Meta(ge=0)]

if TYPE_CHECKING:
    File = str | Path
else:
    File = Path  # msgspec has no union of a text and a path; `_path` takes both.


class Request(msgspec.Struct, frozen=True):
    """A call of the method of `Ledger` that `method` names, with its arguments."""

    method: ClassVar[str]

    def check(self) -> None:
        """Raises UsageError for arguments that contradict each other."""


P = ParamSpec("P")
R = TypeVar("R", bound=Request)
L = TypeVar("L")
Result = TypeVar("Result")


def takes(
    request: Callable[P, R],
) -> Callable[[Callable[[L, R], Result]], Callable[Concatenate[L, P], Result]]:
    """Decorates a method that handles a `request`: it is called with the fields of the request."""

    def decorate(method: Callable[[L, R], Result]) -> Callable[Concatenate[L, P], Result]:
        @functools.wraps(method)
        def call(ledger: L, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            return method(ledger, valid(request(*args, **kwargs)))

        fields = inspect.signature(request).parameters.values()
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        call.__signature__ = inspect.Signature([own, *fields])  # type: ignore[attr-defined]
        return call

    return decorate


def valid(request: R) -> R:
    """The same request. Raises UsageError for the first argument that is not what its type says."""
    for field in _fields(type(request)):
        require(field.name, getattr(request, field.name), field.type)
    request.check()
    return request


def require(name: str, value: object, kind: Any) -> None:
    """Raises UsageError for an argument that is not of the kind (a type that msgspec knows)."""
    given = value
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, Mapping)):
        given = tuple(value)
    try:
        msgspec.convert(given, kind, dec_hook=_path)
    except msgspec.ValidationError:
        raise _refused(name, value, kind) from None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            # A ledger keeps UTF-8 text: lone surrogates, of names that are not UTF-8, are none.
            raise UsageError(
                f"{name} is not UTF-8 text: {value!r}", hint="Give it in UTF-8."
            ) from None


def patterns(tenants: Tenants) -> list[str]:
    """One name or glob, or several, as a list. Raises UsageError for what is neither."""
    require("tenants", tenants, Tenants)
    return [tenants] if isinstance(tenants, str) else list(tenants)


@functools.cache
def _fields(request: type[Request]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(request)


def _path(kind: type, value: object) -> Path:
    """What msgspec calls for a `File`. Raises ValueError for what is none."""
    if isinstance(value, (str, os.PathLike)) and value:
        return Path(value)
    raise ValueError(value)


def _refused(name: str, value: object, kind: Any) -> UsageError:
    """What is wrong with the argument, and what its type takes."""
    from msgspec import inspect as kinds

    found = kinds.type_info(kind)
    takes = found.types if isinstance(found, kinds.UnionType) else (found,)
    by_type: dict[type, Any] = {type(taken): taken for taken in takes}
    if kinds.ListType in by_type:
        hint = "Give a name, a pattern with * and ?, or a list of them."
    elif kinds.LiteralType in by_type:
        words = by_type[kinds.LiteralType].values
        near = difflib.get_close_matches(str(value), words, n=1)
        hint = (f"Did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(words)}."
    elif kinds.IntType in by_type:
        hint = f"Give a whole number, {by_type[kinds.IntType].ge} or more."
    elif kinds.BoolType in by_type:
        hint = "Give True or False."
    elif value == "":
        return UsageError(
            f"{name} is empty", hint="Check the variable that it is taken from, or leave it out."
        )
    else:
        return UsageError(
            f"{name} is {value!r}, which is not text", hint=f"Give {name} as a string."
        )
    return UsageError(f"{name} is {value!r}", hint=hint)
