"""A target's URL as the peers write it."""

from __future__ import annotations

import os
from urllib.parse import quote

from bench.child import Orders


def url(orders: Orders, target: str, *, sqlite: str, mysql: str) -> str:
    """`sqlite` and `mysql` are what the URL begins with for this peer."""
    if orders["engine"] == "sqlite":
        return f"{sqlite}{target}"
    server = orders["server"]
    password = quote(os.environ.get("LEDGER_BENCH_PASSWORD", ""), safe="")
    who = f"{server['user']}:{password}" if password else server["user"]
    return f"{mysql}://{who}@{server['host']}:{server['port']}/{target}"
