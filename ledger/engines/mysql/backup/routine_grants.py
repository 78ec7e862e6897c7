"""Privileges on a tenant's routines: the server revokes them with a routine that a restore drops.

Invariant: what was read stands in the marker before the first drop, so that a restore that was
killed grants them too. An account that may not read them leaves it at that.
"""

from __future__ import annotations

import logging
from typing import Final

from ledger.drivers.mysql import quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.mysql.lock.marker import RoutineGrant
from ledger.engines.mysql.opened import Opened
from ledger.engines.mysql.schema.model import Listing

READ: Final = """
SELECT User, Host, Routine_type, Routine_name, Proc_priv FROM mysql.procs_priv
WHERE Db = DATABASE()
"""
MAY_NOT_READ: Final = frozenset({1044, 1142, 1143})
NO_ROUTINE: Final = 1305

log = logging.getLogger("ledger.engine")


async def read_grants(opened: Opened, listing: Listing) -> tuple[RoutineGrant, ...]:
    """Those on the listed routines; none where the account may not read them."""
    own = {(kind, name.lower()) for kind, name in listing.programs}
    try:
        rows = await opened.connection.fetch(READ)
    except QueryError as error:
        if error.code not in MAY_NOT_READ:
            raise
        return ()
    return tuple(
        RoutineGrant(
            user=str(user),
            host=str(host),
            kind=str(kind),
            routine=str(routine),
            privileges=tuple(str(words).split(",")),
        )
        for user, host, kind, routine, words in rows
        if (str(kind).upper(), str(routine).lower()) in own
    )


async def grant_again(opened: Opened, grants: tuple[RoutineGrant, ...]) -> None:
    """Grant them on the routines that are there again."""
    for grant in grants:
        words = [word.upper() for word in grant.privileges if word.lower() != "grant"]
        account = quote_identifier(grant.user) + (
            f"@{quote_identifier(grant.host)}" if grant.host else ""
        )
        option = " WITH GRANT OPTION" if len(words) < len(grant.privileges) else ""
        try:
            await opened.connection.execute(
                f"GRANT {', '.join(words) or 'USAGE'} ON {grant.kind} {quote_identifier(grant.routine)}"
                f" TO {account}{option}"
            )
        except QueryError as error:
            if error.code != NO_ROUTINE:
                log.warning(
                    "tenant %s: the privileges of %s on %s could not be granted again: %s",
                    opened.tenant,
                    account,
                    grant.routine,
                    error,
                )
