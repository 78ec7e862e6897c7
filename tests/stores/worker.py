"""A process that appends to a ledger and prints each seq once it was told: to be killed, or to compete.

python -m tests.stores.worker URL STREAM COUNT [AT_ONCE]
"""

from __future__ import annotations

import sys

import anyio

from ledger.drivers.url import parse_url
from ledger.stores import open_store
from tests.stores.ledgers import request


async def work(url_text: str, stream: str, count: int, at_once: int) -> None:
    """Append `count` pairs of events, `at_once` appends at a time."""
    url, _ = parse_url(url_text, source="argument")
    async with open_store(url, create=True) as store:

        async def append(index: int) -> None:
            events = await store.append(request(f"{stream}/{index % at_once}", 2))
            # One write: a line must not be torn when the process dies.
            sys.stdout.write(" ".join(str(event.seq) for event in events) + "\n")
            sys.stdout.flush()

        for start in range(0, count, at_once):
            async with anyio.create_task_group() as group:
                for index in range(start, min(start + at_once, count)):
                    group.start_soon(append, index)


def main() -> None:
    """Read the arguments, and append."""
    anyio.run(work, sys.argv[1], sys.argv[2], int(sys.argv[3]), int([*sys.argv, "1"][4]))


if __name__ == "__main__":
    main()
