"""Where the ledger will end once all that is on its way is committed.

The next batch is chained onto that while the one before is still being written.
Invariant: what is made here is a guess; a store uses it only where the head row,
read under the lock that appends take, is the one that it was chained onto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger.stores.base import Head, Prepared
from ledger.stores.chain import Chained, chain_new

STREAMS_REMEMBERED: Final = 50_000


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """A batch chained ahead of its transaction: right if the ledger's head is `base`.

    `claimed` are versions taken from requests alone, beyond the first: the events
    with them must be there. That a stream does not stand higher, or that one
    without an expectation is new, is proven by the unique index.
    """

    base: Head
    claimed: Mapping[str, int]
    chained: Chained


class Tip:
    """The head and the streams' versions after the last batch that was chained."""

    def __init__(self) -> None:
        self._head: Head | None = None
        self._versions: dict[str, int] = {}

    @property
    def known(self) -> bool:
        """Whether a batch can be chained."""
        return self._head is not None

    def stands_at(self, head: Head) -> bool:
        """Whether the ledger's end is the one known here, so that nobody else has appended since."""
        return self._head == head

    def chain(self, batch: Sequence[Prepared], now: str) -> Guess | None:
        """The batch chained onto the tip, which moves on; None if it can only be done in the transaction."""
        head, versions = self._head, self._versions
        if head is None:
            return None
        if len(versions) > STREAMS_REMEMBERED:
            versions.clear()
        claimed: dict[str, int] = {}
        for request in batch:
            if request.expected and request.stream not in versions:
                claimed.setdefault(request.stream, request.expected)
        chained = chain_new(head, batch, versions, now)
        if chained is None:
            self.forget()
            return None
        self._head = chained.head
        return Guess(base=head, claimed=claimed, chained=chained)

    def settle(self, head: Head) -> None:
        """The ledger ends here: nothing is on its way."""
        self._head = head
        self._versions.clear()

    def forget(self) -> None:
        """What was guessed has not come true."""
        self._head = None
        self._versions.clear()
