"""What all sessions of one engine share, so that a fleet of equal tenants is looked at once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ledger.schema import Schema

SCHEMAS_MAX: Final = 256


class Shared:
    """`seen_after`: (statement, before) whose result the ledger knows. Schemas by the texts they came from."""

    def __init__(self) -> None:
        self.seen_after: set[tuple[str, str]] = set()
        self._schemas: OrderedDict[str, tuple[str, Schema]] = OrderedDict()

    def schema_of(self, texts: str) -> tuple[str, Schema] | None:
        """The fingerprint and schema that these texts stood for before."""
        found = self._schemas.get(texts)
        if found is not None:
            self._schemas.move_to_end(texts)
        return found

    def keep(self, texts: str, fingerprint: str, schema: Schema) -> None:
        """Remember, and forget the one unused for longest."""
        self._schemas[texts] = (fingerprint, schema)
        if len(self._schemas) > SCHEMAS_MAX:
            self._schemas.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self.seen_after.clear()
        self._schemas.clear()
