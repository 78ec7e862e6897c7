"""Which objects of a database are a prefix tenant's own.

Known is what its migrations made or touched, what the configuration declares, and what
WordPress names: `wp_posts` is the site's with the prefix `wp_`, and `wp_7_…` is site 7's.
Invariant: a name that nothing settles is `unclear`, never the tenant's.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from ledger.dialects.steps import MARKER_TABLE
from ledger.engines.base import Target
from ledger.scripts.touching import Touched

Whose = Literal["own", "other", "unclear"]

ALL: Final = "*"
"""In `tables`: everything that begins with the prefix, but for other sites and installs."""

CORE: Final = frozenset(
    {
        "blog_versions", "blogmeta", "blogs", "commentmeta", "comments", "links", "options",
        "postmeta", "posts", "registration_log", "signups", "site", "sitecategories", "sitemeta",
        "term_relationships", "term_taxonomy", "termmeta", "terms", "usermeta", "users",
    }
)  # fmt: skip
"""https://developer.wordpress.org/reference/classes/wpdb/: a site's tables, and a network's."""

_SITE: Final = re.compile(r"\d+_")
_OF_A_SITE: Final = re.compile(r".+_\d+_\Z")
"""https://developer.wordpress.org/reference/classes/wpdb/get_blog_prefix/: the network's prefix,
the site's number, an underscore."""


class Claims:
    """Judges names that begin with the tenant's prefix.

    `names` are all of them that the database has. `touched` is what applied migrations, and
    the one at work, touch; `also` are further names that are known to be the tenant's.
    `folds`: these names are equal whatever their case.
    """

    def __init__(
        self,
        target: Target,
        names: Sequence[str],
        touched: Iterable[Touched],
        *,
        also: Iterable[str] = (),
        folds: bool = False,
    ) -> None:
        self._folds = folds
        self._prefix = self._fold(target.prefix)
        self._all = target.owns_all or ALL in target.tables
        patterns = [self._fold(table.replace("{prefix}", target.prefix)) for table in target.tables]
        self._patterns = [
            pattern if pattern.startswith(self._prefix) else self._prefix + pattern
            for pattern in patterns
            if pattern != ALL
        ]
        live = [touch.of(target.prefix) for touch in touched]
        self._made = {self._fold(name) for touch in live for name in touch.made}
        self._known = {self._fold(name) for touch in live for name in touch.names}
        self._also = {self._fold(name) for name in also}
        there = {self._fold(name) for name in names}
        self._neighbours = self._longer(
            (
                *target.neighbours,
                *(name[: -len(MARKER_TABLE)] for name in there if name.endswith(MARKER_TABLE)),
            )
        )
        self._installs = self._longer(
            name.removesuffix("options")
            for name in there
            if name.endswith("options") and name.removesuffix("options") + "posts" in there
        )

    def whose(self, name: str) -> Whose:
        """Whose object it is."""
        name = self._fold(name)
        rest = name.removeprefix(self._prefix)
        if rest == name or name.startswith(self._neighbours):
            return "other"
        if name in self._also or any(
            fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns
        ):
            return "own"
        if _SITE.match(rest):
            if name in self._made:
                return "own"
            return "unclear" if name in self._known else "other"
        if name in self._known or rest in CORE:
            return "own"
        if self._all or _OF_A_SITE.match(self._prefix):
            return "unclear" if name.startswith(self._installs) else "own"
        return "unclear"

    def _fold(self, name: str) -> str:
        return name.lower() if self._folds else name

    def _longer(self, prefixes: Iterable[str]) -> tuple[str, ...]:
        """Those that begin with the tenant's own and go on."""
        return tuple(
            prefix
            for prefix in map(self._fold, prefixes)
            if len(prefix) > len(self._prefix) and prefix.startswith(self._prefix)
        )


def declaration(target: Target, name: str) -> str:
    """How the configuration says whose an object is: the hint of a refusal."""
    rest = name.removeprefix(target.prefix)
    longer = target.prefix + rest[: rest.find("_") + 1] if "_" in rest else name
    return (
        f'If it is, add tables = ["{rest}"] to {target.source}; if it is another\'s, add'
        f' neighbours = ["{longer}"], which is all that begins so. Patterns (* and ?) work in tables.'
    )
