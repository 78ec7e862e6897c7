"""What every script takes on its command line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Literal

import msgspec

Size = Literal["quick", "modest", "full"]
ENGINES = ("sqlite", "mysql")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`size` sets what `tenants` and `n` do not. `dir` is where databases are made (None: the
    system's temporary folder). `server` is the MariaDB or MySQL to use, `peers` whether to run them.
    """

    size: Size = "modest"
    tenants: int | None = None
    engines: tuple[str, ...] = ENGINES
    n: int | None = None
    sync_delay_ms: float = 0.0
    dir: Path | None = None
    server: str = "mysql://root@127.0.0.1:3306"
    peers: bool = True
    json: bool = False
    plot: Path | None = None
    command: str = ""

    def pick(self, *, quick: int, modest: int, full: int) -> int:
        """`--tenants`, or what this size means."""
        return self.tenants or {"quick": quick, "modest": modest, "full": full}[self.size]

    def rounds(self) -> int:
        """`--n`; five unless this is a quick look."""
        return self.n or (2 if self.size == "quick" else 5)


def parser(description: str | None, *, prog: str) -> argparse.ArgumentParser:
    """The options that all scripts share."""
    made = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = made.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="tiny: does it run at all")
    size.add_argument("--full", action="store_true", help="the sizes of the target table")
    made.add_argument("--tenants", type=int, metavar="N", help="how many tenants")
    made.add_argument("--engine", choices=ENGINES, help="one kind of database only")
    made.add_argument("--n", type=int, metavar="N", help="rounds; at least 5 for a figure to quote")
    made.add_argument(
        "--sync-delay",
        type=float,
        default=0.0,
        metavar="MS",
        help="add MS milliseconds to every sync of both sides (needs a C compiler)",
    )
    made.add_argument("--dir", type=Path, metavar="FOLDER", help="where databases are made")
    made.add_argument(
        "--server",
        default=os.environ.get("LEDGER_BENCH_SERVER", Options().server),
        metavar="URL",
        help="a MariaDB or MySQL whose account may create databases (LEDGER_BENCH_SERVER)",
    )
    made.add_argument("--no-peers", action="store_true", help="ours and the raw driver only")
    made.add_argument("--plot", type=Path, metavar="FILE", help="bench.scale: draw it (.svg, .png)")
    made.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return made


def from_arguments(given: argparse.Namespace, *, command: str) -> Options:
    """Options as the command line said."""
    size: Size = "quick" if given.quick else "full" if given.full else "modest"
    return Options(
        size=size,
        tenants=given.tenants,
        engines=(given.engine,) if given.engine else ENGINES,
        n=given.n,
        sync_delay_ms=given.sync_delay,
        dir=given.dir,
        server=given.server,
        peers=not given.no_peers,
        json=given.json,
        plot=given.plot,
        command=command,
    )
