"""Building blocks for the regular expressions that scan SQL.

Invariant: what is repeated is never given back, so that no text can make a
scanner go over it again and again, and memory does not grow with the text.
"""

from __future__ import annotations

from typing import Final

_CHUNK: Final = 1000
"""Repetitions that are taken at once: `re` keeps a frame for each until the chunk is complete."""


def repeated(pattern: str) -> str:
    """The pattern for `pattern` as often as it comes, none of it given back: what `(?:…)*+` means.

    CPython before 3.11.5, Debian 12's for one, reads too far with a possessive
    quantifier over a group when an alternative fails half-way
    (https://github.com/python/cpython/issues/106052), so none is written in this
    package; over a single character they are right. An atomic group means the
    same and is right everywhere; one for each chunk keeps memory flat.
    """
    return rf"(?>(?:(?>(?:{pattern}){{1,{_CHUNK}}}))*)"


def quoted(mark: str, *, backslash: bool = False) -> str:
    """The pattern for a text in quotation marks, in which a doubled mark stands for itself.

    `backslash`: a backslash takes the character after it along (needs DOTALL).
    """
    if backslash:
        return mark + repeated(rf"[^{mark}\\]++|{mark}{mark}|\\.") + mark
    return mark + repeated(f"[^{mark}]++|{mark}{mark}") + mark


SINGLE: Final = quoted("'")
DOUBLE: Final = quoted('"')
BACKTICKED: Final = quoted("`")
BLOCK_COMMENT: Final = r"/\*[^*]*+\*++" + repeated(r"[^/*][^*]*+\*++") + "/"
