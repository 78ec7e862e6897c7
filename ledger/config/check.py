"""What is wrong with a configuration's values, found by walking the types that they are to have.

Invariant: the first thing that the decoder would refuse is found here as data, so that nobody
reads its English.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

Path = tuple[str | int, ...]


class Unknown(NamedTuple):
    """A key that its table has not."""

    path: Path
    key: str


class WrongKind(NamedTuple):
    """A value of another kind. `wanted` and `got` are kinds as KINDS words them."""

    path: Path
    wanted: tuple[str, ...]
    got: str


class WrongChoice(NamedTuple):
    """A text that is none of those allowed."""

    path: Path


class BeyondLimit(NamedTuple):
    """A number beyond a limit; `limit` is the name of the bound in msgspec.Meta."""

    path: Path
    limit: str
    bound: float


Problem = Unknown | WrongKind | WrongChoice | BeyondLimit

_PLAIN: Final[Mapping[type[Any], str]] = {
    msgspec.inspect.StrType: "str",
    msgspec.inspect.BoolType: "bool",
    msgspec.inspect.IntType: "int",
    msgspec.inspect.FloatType: "float",
    msgspec.inspect.LiteralType: "str",
    msgspec.inspect.ListType: "array",
    msgspec.inspect.DictType: "object",
    msgspec.inspect.StructType: "object",
    msgspec.inspect.NoneType: "null",
}
_GOT: Final[Mapping[type[Any], str]] = {
    str: "str",
    bool: "bool",
    int: "int",
    float: "float",
    list: "array",
    dict: "object",
}
_LIMITS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "gt": lambda value, bound: value > bound,
    "ge": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "le": lambda value, bound: value <= bound,
}


def find_problem(value: object, shape: type[msgspec.Struct]) -> Problem | None:
    """The first problem of a table that is to be this struct; None if there is none."""
    return next(_problems(value, msgspec.inspect.type_info(shape), ()), None)


def _problems(value: object, kind: Any, path: Path) -> Iterator[Problem]:
    if isinstance(kind, msgspec.inspect.AnyType):
        return
    if isinstance(kind, msgspec.inspect.UnionType):
        yield from _of_union(value, kind, path)
    elif not _fits(value, kind):
        yield WrongKind(path, (_PLAIN[type(kind)],), _got(value))
    elif isinstance(kind, msgspec.inspect.StructType):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, inner in _table(value).items():
            if key not in fields:
                yield Unknown(path, key)
            else:
                yield from _problems(inner, fields[key], (*path, key))
    elif isinstance(kind, msgspec.inspect.DictType):
        for inner in _table(value).values():
            yield from _problems(inner, kind.value_type, path)
    elif isinstance(kind, msgspec.inspect.ListType) and isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _problems(inner, kind.item_type, (*path, index))
    elif isinstance(kind, msgspec.inspect.LiteralType) and value not in kind.values:
        yield WrongChoice(path)
    elif isinstance(value, int | float):
        for limit, holds in _LIMITS.items():
            bound = getattr(kind, limit, None)
            if bound is not None and not holds(value, bound):
                yield BeyondLimit(path, limit, bound)


def _of_union(value: object, kind: msgspec.inspect.UnionType, path: Path) -> Iterator[Problem]:
    """By the member whose kind the value has; there is at most one."""
    fitting = [member for member in kind.types if _fits(value, member)]
    if fitting:
        yield from _problems(value, fitting[0], path)
    else:
        yield WrongKind(path, tuple(_PLAIN[type(member)] for member in kind.types), _got(value))


def _fits(value: object, kind: Any) -> bool:
    name = _PLAIN[type(kind)]
    if value is None:
        return name == "null"
    return _got(value) == name or (name == "float" and _got(value) == "int")


def _got(value: object) -> str:
    return _GOT.get(type(value), "time")


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
