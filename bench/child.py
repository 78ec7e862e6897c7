"""The other end of `bench.children`: a process that prepares, waits for the word, works, and says how long.

A child reads its orders (one JSON line) from stdin, does what is not timed
(imports, connections), says `ready`, waits for a line, works, and prints its
result as one JSON line. So start-up is never counted against the other side,
and two children begin at the same moment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

Orders = dict[str, Any]
Work = Callable[[], None]


def serve(prepare: Callable[[Orders], Work]) -> None:
    """Speak the protocol: `prepare` gets the orders and returns what is to be timed."""
    orders: Orders = json.loads(sys.stdin.readline())
    work = prepare(orders)
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.perf_counter(), time.process_time()
    work()
    result = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    print(json.dumps(result), flush=True)
