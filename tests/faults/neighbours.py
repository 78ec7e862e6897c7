"""What lies beside prefix tenants in their database and is not theirs: a network's sites, another install.

They are written to while commands run; whatever becomes of the tenants, they hold what was
written, and nothing of them is gone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tests.servers import Server, connect

INSTALL: Final = "shop_"
"""Another install's prefix goes on so after a tenant's; the configuration has to name it."""

_THEIRS: Final = re.compile(rf"(?:\d+_|{INSTALL}).*")


def is_a_neighbours(rest: str) -> bool:
    """Whether a name, without the tenant's prefix, is another site's or the other install's."""
    return _THEIRS.fullmatch(rest) is not None


class Neighbours:
    """Tables beside the tenants with these prefixes, and how many rows each must have."""

    def __init__(self, server: Server, database: str, prefixes: Sequence[str]) -> None:
        self._server = server
        self._database = database
        self._prefixes = tuple(prefixes)
        self._rows: dict[str, int] = {}
        self._sites = 1
        for prefix in self._prefixes:
            self._make(f"{prefix}{INSTALL}orders")
            self._make(f"{prefix}{self._sites}_posts")

    def declared(self) -> str:
        """The line of the configuration that names the other installs; WordPress' rule says the rest."""
        names = ", ".join(f'"{prefix}{INSTALL}"' for prefix in self._prefixes)
        return f"neighbours = [{names}]\n"

    def new_site(self) -> None:
        """The networks of all tenants grow."""
        self._sites += 1
        for prefix in self._prefixes:
            self._make(f"{prefix}{self._sites}_posts")

    def write(self) -> None:
        """A row more in every table."""
        with connect(self._server, self._database) as connection, connection.cursor() as cursor:
            for name in self._rows:
                cursor.execute(f"INSERT INTO `{name}` () VALUES ()")
                self._rows[name] += 1

    def check(self) -> None:
        """Every table is there, with its trigger and every row."""
        found: dict[str, int] = {}
        with connect(self._server, self._database) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TRIGGERS")
            watched = {str(row[2]) for row in cursor.fetchall()}
            for name in self._rows:
                cursor.execute(f"SELECT COUNT(*) FROM `{name}`")
                found[name] = cursor.fetchall()[0][0]
        assert found == self._rows
        assert self._rows.keys() <= watched

    def _make(self, name: str) -> None:
        with connect(self._server, self._database) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE `{name}` (id INT PRIMARY KEY AUTO_INCREMENT, n INT)")
            cursor.execute(
                f"CREATE TRIGGER `{name}_seen` BEFORE INSERT ON `{name}` FOR EACH ROW SET NEW.n = 1"
            )
        self._rows[name] = 0
