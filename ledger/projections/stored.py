"""The folded state as the rows that a store keeps, so that opening a ledger need not fold all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from ledger.errors import ChainBrokenError
from ledger.projections.applied import Applied
from ledger.projections.fleet import FleetState
from ledger.projections.runs import RunState, Seen
from ledger.projections.tenants import TenantState

PROJECTION: Final = "fleet2"
"""The name under which the store keeps this projection; another one for another shape of the rows."""


class _StoredTenant(msgspec.Struct, kw_only=True, omit_defaults=True):
    state: TenantState
    applied: str = ""


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_TENANT_DECODER: Final = msgspec.json.Decoder(_StoredTenant)
_RUN_DECODER: Final = msgspec.json.Decoder(RunState)
_SEEN_DECODER: Final = msgspec.json.Decoder(Seen)
_APPLIED_DECODER: Final = msgspec.json.Decoder(Applied)


def dump(fleet: FleetState, keys: Iterable[str]) -> dict[str, bytes]:
    """The stored rows for `keys` (`tenant/NAME`, `run/ID`, `seen/SCOPE`), with the applied sets that they refer to."""
    rows: dict[str, bytes] = {}
    digests: dict[int, str] = {}
    for key in keys:
        kind, _, name = key.partition("/")
        if kind == "run":
            rows[key] = _ENCODER.encode(fleet.runs[name])
        elif kind == "seen":
            rows[key] = _ENCODER.encode(fleet.seen[name])
        elif kind == "tenant":
            state = fleet.tenants[name]
            digest = digests.get(id(state.applied))
            if digest is None and state.applied:
                content = _ENCODER.encode(state.applied)
                digest = digests[id(state.applied)] = hashlib.sha256(content).hexdigest()
                rows[f"applied/{digest}"] = content
            rows[key] = _ENCODER.encode(
                _StoredTenant(
                    state=msgspec.structs.replace(state, applied=()), applied=digest or ""
                )
            )
    return rows


def applied_keys(rows: Iterable[tuple[str, bytes]]) -> set[str]:
    """The keys of the applied sets that rows of tenants refer to. Raises ChainBrokenError as `load` does."""
    with _readable():
        found = {
            _TENANT_DECODER.decode(state).applied
            for key, state in rows
            if key.startswith("tenant/")
        }
    return {f"applied/{digest}" for digest in found if digest}


def load(seq: int, rows: Iterable[tuple[str, bytes]]) -> FleetState:
    """The state that `dump` wrote. Raises ChainBrokenError for what it never wrote."""
    with _readable():
        return _load(seq, rows)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (
        msgspec.DecodeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ChainBrokenError(
            f"the stored projections cannot be read: {error}",
            seq=0,
            hint="`ledger verify --rebuild` replaces them by a replay of the events.",
        ) from error


def _load(seq: int, rows: Iterable[tuple[str, bytes]]) -> FleetState:
    fleet = FleetState(seq=seq, stored_seq=seq)
    applied: dict[str, Applied] = {"": ()}
    stored: list[_StoredTenant] = []
    for key, content in rows:
        kind, _, name = key.partition("/")
        if kind == "applied":
            applied[name] = fleet.sets.intern(_APPLIED_DECODER.decode(content))
        elif kind == "run":
            fleet.runs[name] = _RUN_DECODER.decode(content)
        elif kind == "seen":
            fleet.seen[name] = _SEEN_DECODER.decode(content)
        else:
            stored.append(_TENANT_DECODER.decode(content))
    for row in stored:
        row.state.applied = applied[row.applied]
        fleet.tenants[row.state.tenant] = row.state
    return fleet


def all_keys(fleet: FleetState) -> list[str]:
    """Every row key of a state."""
    keys = [f"tenant/{name}" for name in fleet.tenants]
    return keys + [f"run/{run}" for run in fleet.runs] + [f"seen/{scope}" for scope in fleet.seen]
