"""What a connection to MySQL or MariaDB raises, and the numbers that distinguish failures."""

from __future__ import annotations

from typing import Final

import pymysql

ACCESS_DENIED: Final = frozenset({1045, 1698})
SERVER_FULL: Final = frozenset({1040, 1203, 1226})
LOST: Final = frozenset({0, 1053, 1077, 1079, 1927, 2006, 2013, 2014, 2027, 2055, 3169, 4031})


class DriverError(Exception):
    """Base of what this module raises. `code` is the server's or the client library's number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})" if code else message)
        self.code = code
        self.message = message


class ConnectRefusedError(DriverError):
    """No connection: unreachable, too slow, no such database, access denied, too many connections."""


class ConnectionLostError(DriverError):
    """The connection went away. Whether a statement that was running landed is not known."""


class QueryTimeoutError(DriverError):
    """The deadline passed; the statement was KILLed. Whether it landed is not known."""


class QueryError(DriverError):
    """The server refused the statement."""


def code_and_message(error: pymysql.Error) -> tuple[int, str]:
    """The number and the text of the library's error; 0 where it has no number."""
    arguments = error.args
    if len(arguments) >= 2 and isinstance(arguments[0], int):
        return arguments[0], str(arguments[1])
    return 0, str(error)
