"""A small fleet whose ledger is in the same kind of database as its tenants."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.test_cli_mysql import address
from tests.place import MakePlace, Place


@pytest.fixture
def make_audited(request: pytest.FixtureRequest, make_place: MakePlace) -> Callable[[str], Place]:
    """`make_audited("sqlite" | "mariadb" | "mysql")`: as `make_place`, the ledger on that server too."""

    def make(engine: str) -> Place:
        if engine == "sqlite":
            return make_place(engine)
        server, make_database = (request.getfixturevalue(one) for one in (engine, "make_database"))
        return make_place(engine, head=f'url = "{address(server, make_database(server))}"')

    return make
