"""Comments that can only be meant as a directive, and are none as they are written.

Invariant: a comment that says something of its own in plain English stays one, even if
it begins with a directive's word (`-- Step: …`, `-- Depends: on the importer`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ledger.scripts.version import version_key

SHORT: Final = 5
"""Up to so many letters a word is one letter away from too many others: only slips of the hand count."""
PREFIX: Final = 8
"""How many letters in common, and a value such as `off`, make a word a slip of a longer one."""
_DASHES: Final = re.compile("[_\u2010-\u2015]")
_WORD: Final = re.compile(
    r"---?\s*[@+!*]?\s*(?P<word>\w(?:[\w\u2010-\u2015-]*\w)?)(?P<rest>.*)", re.DOTALL
)
_COLON: Final = re.compile("\\s*[:\uff1a](?P<value>.*)", re.DOTALL)
_COMPOUND: Final = re.compile(
    r"---?\s*[@+!*]?\s*(?P<first>skip|verify|redo|place)(?P<between>[\W_]?)(?P<second>if|step|safe|holders?)\b(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_COMPOUNDS: Final = frozenset({"skip-if", "verify-step", "redo-safe"})
_ENGLISH: Final = frozenset(
    {
        "appends", "checks", "deepens", "defends", "depended", "descends", "heck", "migrant", "migrants",
        "migrated", "migrates", "migration", "migrations", "migrator", "mitigate", "placeholder", "sep",
        "secrets", "spends", "steep", "steps", "undo-safe", "upends", "versions", "vision",
    }
)  # fmt: skip
_YES: Final = frozenset({"", "true", "false", "yes", "no", "on", "off", "1", "0"})


def meant(comment: str, words: Iterable[str]) -> str:
    """The directive that a comment `-- …` is a slip of, as one of `words`; nothing for prose.

    `words` end with a colon where a value follows.
    """
    known = {word.rstrip(":"): word for word in words}
    found = _COMPOUND.match(comment)
    if found is not None:
        whole = f"{found['first']}-{found['second']}".lower()
        if whole in _COMPOUNDS and (found["between"] != " " or _COLON.match(found["rest"])):
            return known[whole]
        if whole == "redo-safe" and not found["rest"].strip():
            return known[whole]
    match = _WORD.match(comment)
    if match is None:
        return ""
    word = _DASHES.sub("-", match["word"]).lower()
    colon = _COLON.match(match["rest"])
    value = (colon["value"] if colon else match["rest"]).strip()
    if word in known:
        return known[word] if _fits(word, value, colon=colon is not None) else ""
    if colon is None and (value or "-- " + match["word"] != comment.rstrip()):
        return ""
    if colon is not None and value and value.lower() in _YES:
        for name in known:
            if len(name) > PREFIX and word[:PREFIX] == name[:PREFIX]:
                return known[name]
    near = [name for name in known if _is_slip(word, name, written=match["word"])]
    near = [name for name in near if colon is not None or not known[name].endswith(":")]
    return known[near[0]] if near else ""


def _fits(word: str, value: str, *, colon: bool) -> bool:
    """Whether what follows a directive's own word, in other letters or signs, can only be its value."""
    if word == "depends":
        items = value.lower().removeprefix("on ").replace(",", " ").split()
        return bool(items) and all(version_key(item.rpartition("/")[2]) for item in items)
    if word in ("placeholders", "foreign-key-check"):
        return value.lower() in ("on", "off")
    if word == "secret":
        return value.lower() in _YES
    return word == "migrate" and colon


def slip_of(word: str, known: Iterable[str]) -> str:
    """Which of `known` the word is a slip of; nothing for one of them, and for another word."""
    names = list(known)
    if word in names:
        return ""
    return next((name for name in names if _is_slip(word, name, written=word)), "")


def _is_slip(word: str, known: str, *, written: str) -> bool:
    if word in _ENGLISH or word == known:
        return False
    if len(known) > SHORT and known != "secret":
        return distance(word, known, limit=2) <= 2
    return written.islower() and _is_slip_of_the_hand(word, known)


def _is_slip_of_the_hand(word: str, known: str) -> bool:
    """Two letters in each other's place, one left out, or one typed twice."""
    swapped = {
        known[:at] + known[at + 1] + known[at] + known[at + 2 :] for at in range(len(known) - 1)
    }
    short = {known[:at] + known[at + 1 :] for at in range(len(known))}
    double = {known[:at] + known[at] + known[at:] for at in range(len(known))}
    return word in swapped | short | double


def distance(left: str, right: str, *, limit: int) -> int:
    """Letters to change, add, leave out, or swap with the next one; more than `limit` is not counted out."""
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for at, letter in enumerate(left, 1):
        earlier, before, row = before, row, [at]
        for column, other in enumerate(right, 1):
            cost = min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != other))
            swap = at > 1 and column > 1 and left[at - 2] == other and letter == right[column - 2]
            row.append(min(cost, earlier[column - 2] + 1) if swap else cost)
    return row[-1]
