"""An event on one line: what happened, as its body's fields say."""

from __future__ import annotations

from typing import Any

from ledger.errors import NewerLedgerError
from ledger.events import Recorded
from ledger.render.text import count_text, one_line


def what_of(row: Recorded) -> str:
    """Nothing of a newer version's event: only that knows what its fields mean. Raises ChainBrokenError."""
    try:
        _ = row.data
    except NewerLedgerError:
        return ""
    return what_happened(row.document())


def what_happened(body: dict[str, Any]) -> str:
    """The fields of an event's body that a person wants first, on one line."""
    migration = body.get("migration")
    ref = migration if isinstance(migration, dict) else body
    words = []
    if ref.get("set") and ref.get("version"):
        words.append(f"{ref['set']}/{ref['version']}")
    if "step" in body:
        words.append(f"{body['step']}/{body['of']}" if "of" in body else f"step {body['step']}")
    for key in ("task", "table", "name", "path", "message", "detail", "kind", "how", "reason"):
        if body.get(key) and not (key == "name" and ref is not body):
            words.append(one_line(str(body[key])))
    if landed := body.get("landed"):
        words.append(f"(steps landed: {', '.join(map(str, landed))})")
    if "checks" in body:
        passed = sum(bool(check.get("passed")) for check in body["checks"])
        words.append(f"{passed} of {len(body['checks'])} checks")
    if "plans" in body:
        changed = [one["name"] for one in body["plans"] if one["how"] in ("changed", "broken")]
        words.append(f"{len(changed)} of {count_text(len(body['plans']), 'query plan')} changed")
        words += [one_line(name) for name in changed]
    if "outcomes" in body:
        words += [f"{count} {result}" for result, count in body["outcomes"].items()]
    if "tenants" in body:
        words.append(f"{body.get('command', '')} {count_text(body['tenants'], 'tenant')}".strip())
    return " ".join(words)
