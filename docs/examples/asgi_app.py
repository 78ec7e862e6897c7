"""An ASGI application that migrates its tenants before it serves its first request.

Start as many replicas as you like at once: one does the work, the others wait
for its result. With Starlette or FastAPI give them `lifespan` and leave `app` out.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from ledger import Ledger

CONFIG = os.environ.get("LEDGER_CONFIG", "ledger.toml")

Message = MutableMapping[str, Any]


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[None]:
    """Migrate, then serve. A tenant that could not be migrated keeps the application from starting."""
    report = await Ledger.open(CONFIG).migrate(reason="application start")
    if not report.success:
        raise RuntimeError("; ".join(f"{name}: {why}" for name, why in report.errors.items()))
    yield


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """The ASGI protocol without a framework: `uvicorn asgi_app:app`."""
    if scope["type"] == "lifespan":
        await receive()
        try:
            async with lifespan(app):
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ready\n"})
