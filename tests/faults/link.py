"""A network link between the product and a server on which packets can be lost, both ways.

A network namespace, tied to this one by a pair of virtual cards; a packet is lost since it
goes to a hardware address that no card has. Nothing is reset, closed or acknowledged.
Only root may make one; `make` says whether it could be made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NO_CARD: Final = "02:00:00:00:00:01"
"""A hardware address that nobody has."""


class Link:
    """`here` is this end's address; commands behind `inside` run at the other end."""

    def __init__(self) -> None:
        number = os.getpid()
        # 198.18.0.0/15 is kept for tests of networks (RFC 2544): four addresses of it, by the process.
        begins = f"198.18.{number >> 6 & 255}"
        self.here = f"{begins}.{(number & 63) * 4 + 1}"
        self.there = f"{begins}.{(number & 63) * 4 + 2}"
        self._space = f"ledger-{number}"
        self._cards = (f"ledger-h{number}", f"ledger-t{number}")
        self.inside = ("ip", "netns", "exec", self._space)

    def make(self) -> bool:
        """Set it up. False, with nothing left behind, where that is not permitted."""
        card, other = self._cards
        at = ("-n", self._space)
        steps = (
            ("netns", "add", self._space),
            ("link", "add", card, "type", "veth", "peer", "name", other, "netns", self._space),
            ("addr", "add", f"{self.here}/30", "dev", card),
            ("link", "set", card, "up"),
            (*at, "addr", "add", f"{self.there}/30", "dev", other),
            (*at, "link", "set", other, "up"),
            (*at, "link", "set", "lo", "up"),
        )
        if shutil.which("ip") is not None and all(_ip(*step) for step in steps):
            return True
        self.remove()
        return False

    def lose(self) -> None:
        """From now on every packet is lost."""
        card, other = self._cards
        gone = ("lladdr", NO_CARD, "nud", "permanent")
        assert _ip("neigh", "replace", self.there, *gone, "dev", card)
        assert _ip("-n", self._space, "neigh", "replace", self.here, *gone, "dev", other)

    def carry(self) -> None:
        """From now on packets arrive again."""
        card, other = self._cards
        assert _ip("neigh", "del", self.there, "dev", card)
        assert _ip("-n", self._space, "neigh", "del", self.here, "dev", other)

    def remove(self) -> None:
        """Take down what there is of it; the cards go with the namespace."""
        if shutil.which("ip") is not None:
            _ip("link", "del", self._cards[0])
            _ip("netns", "del", self._space)


def _ip(*arguments: str) -> bool:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True)
    return done.returncode == 0


@contextmanager
def link() -> Iterator[Link | None]:
    """A link for the block; None where none can be made."""
    made = Link()
    if not made.make():
        yield None
        return
    try:
        yield made
    finally:
        made.remove()
