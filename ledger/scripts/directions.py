"""What undoes a migration by the name of its folder or file, in the manner of other tools.

Invariant: a name that is only near such a manner (`shut_down`, `undo_history`) stays a name
like any other; one that has a partner is what it says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from ledger.scripts.layouts import FILLERS, PAIRS, Direction

_TOKENS: Final = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+")
_JOINED: Final = (("roll", "back"), ("back", "out"), ("tear", "down"), ("un", "do"))
REVERSE: Final = frozenset(pair.other for pair in PAIRS if pair.direction == "down" and pair.plain)
FORWARD: Final = frozenset(pair.forward for pair in PAIRS if pair.plain)


class Reverse(NamedTuple):
    """A folder of the other direction, and the one beside it that it belongs to, or nothing."""

    direction: Direction
    partner: str


def _tokens(name: str) -> list[str]:
    found = [word.lower() for word in _TOKENS.findall(name)]
    for left, right in _JOINED:
        for at in range(len(found) - 1):
            if found[at : at + 2] == [left, right]:
                found[at : at + 2] = [left + right]
    return found


def may_be_reverse(name: str) -> bool:
    """Whether a folder's name could say a direction, whatever is beside it."""
    tokens = _tokens(name)
    return not REVERSE.isdisjoint(tokens) or any(pair.other in tokens for pair in PAIRS)


def reverse_folder(name: str, beside: Collection[str]) -> Reverse | None:
    """What a folder's name says, among those beside it; None for one of no direction."""
    tokens = _tokens(name)
    others = {other: _tokens(other) for other in beside if other != name}
    for at, token in enumerate(tokens):
        rest = tokens[:at] + tokens[at + 1 :]
        last, filled = bool(rest) and at == len(rest), FILLERS.issuperset(rest) and bool(rest)
        for pair in PAIRS:
            if token != pair.other:
                continue
            forward = [*tokens[:at], pair.forward, *tokens[at + 1 :]]
            for other, words in others.items():
                if words == forward or (pair.plain and words == rest and (last or filled)):
                    return Reverse(pair.direction, other)
        if token in REVERSE and (filled or not rest):
            return Reverse("down", next(iter(sorted(others)), "") if len(others) == 1 else "")
    return None


_WORDS: Final = "|".join(sorted(FORWARD | REVERSE, key=len, reverse=True))
_NUMBER: Final = r"[0-9]+(?:[._][0-9]+)*"
_MANNERS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<base>.+?)[.\-](?P<word>{_WORDS})",
        rf"(?P<word>{_WORDS})[._\- ]*(?P<base>{_NUMBER}(?:[._\- ].*)?)",
        rf"(?P<number>{_NUMBER})[._\- ]+(?P<word>{_WORDS})(?:[._\- ]+(?P<base>.*))?",
    )
)
_ALONE: Final = re.compile(rf"(?P<word>{_WORDS})", re.IGNORECASE)
_NAMED_FIRST: Final = re.compile(
    rf"(?P<base>[a-z]\w*?)_(?P<number>[0-9]+)_(?P<word>{_WORDS})", re.I
)
_UNDO: Final = re.compile(rf"U(?={_NUMBER}__)", re.IGNORECASE)
_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[-_T]?(\d{6}))?(?=[-_. ]|\Z)")


class RightName(NamedTuple):
    """How a file should be called: `text`; and whether it undoes a migration."""

    text: str
    undoes: bool


def right_name(file_name: str) -> RightName:
    """The nearest right form of a wrong name, in which a direction is what it was meant to be."""
    stem, dot, kind = file_name.rpartition(".")
    if not dot or kind.lower() not in ("sql", "py"):
        stem, kind = file_name, "sql"
    undoes = _UNDO.match(stem) is not None
    stem = _UNDO.sub("", stem)
    named = _NAMED_FIRST.fullmatch(stem)
    if named is not None:
        undoes = named["word"].lower() in REVERSE
        stem = f"{named['number']}_{named['base']}"
    alone = _ALONE.fullmatch(stem)
    if alone is not None:
        undoes, stem = alone["word"].lower() in REVERSE, ""
    for manner in _MANNERS:
        match = manner.fullmatch(stem)
        if match is not None:
            undoes = match["word"].lower() in REVERSE
            parts = match.groupdict()
            stem = f"{parts.get('number') or ''}_{parts['base'] or ''}".strip("_")
            break
    stem = _DATE.sub(lambda date: "".join(part or "" for part in date.groups()), stem, count=1)
    found = re.match(r"[Vv]?([0-9]+(?:[._][0-9]+)*)[_\-. ]*(.*)", stem)
    version = found[1].replace("_", ".") if found and len(found[1]) <= 64 else "001"
    rest = found[2] if found else stem
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", rest)
    name = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_") or "add_something"
    down = ".down" if undoes and kind.lower() == "sql" else ""
    return RightName(f"{version}_{name}{down}.{kind.lower()}", undoes)


class NamedPair(NamedTuple):
    """A file that undoes another one, by their names; both without `.sql`."""

    reverse: str
    forward: str


def reverse_files(stems: Iterable[str]) -> tuple[NamedPair, ...]:
    """Files such as `001_users_down` beside `001_users_up` or `001_users`.

    A word at the end counts if another file has the rest of the name; one at the beginning
    (`005_revert_users` is a migration of its own) only if that one has the version too.
    """
    split = {stem: stem.partition("_")[::2] for stem in stems}
    by_name: dict[str, list[str]] = {}
    for stem, (_, name) in split.items():
        by_name.setdefault(name, []).append(stem)
    found = []
    for stem, (version, name) in split.items():
        head, _, last = name.rpartition("_")
        first, _, tail = name.partition("_")
        candidates = [
            other for base in _forward_names(head, last) for other in by_name.get(base, ())
        ]
        candidates += [
            other
            for base in _forward_names(tail, first, first=True)
            for other in by_name.get(base, ())
            if split[other][0] == version
        ]
        if name in REVERSE:
            candidates += [other for other in split if other != stem and split[other][0] == version]
        if candidates:
            same = [other for other in candidates if split[other][0] == version]
            found.append(NamedPair(stem, (same or candidates)[0]))
    return tuple(found)


def _forward_names(rest: str, word: str, *, first: bool = False) -> list[str]:
    """The names that what applies may have, where `word` is one of what undoes."""
    if not rest or word not in REVERSE:
        return []
    words = [pair.forward for pair in PAIRS if pair.other == word]
    return [rest, *(f"{word}_{rest}" if first else f"{rest}_{word}" for word in words)]
