"""What the entries of a tenant's marker mean, the same on every engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ledger.engines.work import MarkerEntry
from ledger.errors import FencedError, ForeignLedgerError, MarkerMismatchError
from ledger.events import MigrationRef

FOREIGN_HINT: Final = (
    "Most likely this is the wrong ledger: check --config, --env and `url` in the configuration, or put the"
    " ledger that was deleted or moved back in its place. Or the tenant was copied here from elsewhere. Only if"
    " its own ledger is lost for good, take it over: `ledger baseline --tenant NAME --to VERSION`."
)


def require_own(found: str, ledger: str, *, tenant: str) -> None:
    """Raises ForeignLedgerError if the marker names another ledger."""
    if found not in ("", ledger):
        raise foreign(found, ledger, tenant=tenant)


def foreign(found: str, ledger: str, *, tenant: str = "") -> ForeignLedgerError:
    """The tenant's marker names the ledger `found`, and this one is `ledger`."""
    return ForeignLedgerError(
        f"this tenant belongs to another ledger ({found}, not {ledger})",
        hint=FOREIGN_HINT,
        tenant=tenant or None,
    )


def require_epoch(found: int, epoch: int, *, tenant: str) -> None:
    """Raises FencedError if the tenant has seen a newer claim."""
    if found > epoch:
        raise fenced(found, epoch, tenant=tenant)


def fenced(found: int, epoch: int, *, tenant: str) -> FencedError:
    """A newer claim was here."""
    return FencedError(
        f"a newer claim (epoch {found}, ours is {epoch}) has passed on this tenant",
        found=found,
        tenant=tenant,
    )


def require_expected(
    entries: Iterable[MarkerEntry], ref: MigrationRef, expected: frozenset[str], *, tenant: str
) -> None:
    """Raises MarkerMismatchError unless what is applied, `ref` apart, is `expected`.

    A migration whose down steps have only begun still counts as applied.
    """
    own = ref.id
    applied = {
        entry.ref.id for entry in entries if entry.state == "applied" or entry.direction == "down"
    } - {own}
    if applied == expected - {own}:
        return
    missing = tuple(sorted(expected - applied - {own}))
    extra = tuple(sorted(applied - expected))
    parts = [f"it lacks {', '.join(missing)}"] * bool(missing)
    parts += [f"it has {', '.join(extra)} besides"] * bool(extra)
    raise MarkerMismatchError(
        f"the tenant's marker and the ledger disagree on what is applied: {'; '.join(parts)}",
        missing=missing,
        extra=extra,
        hint="The tenant, or the ledger, was put back to an older state; `ledger status` shows "
        "which, and the next `ledger migrate --tenant NAME` brings a regressed tenant forward.",
        tenant=tenant,
    )


def adopted(
    entries: Iterable[MarkerEntry], refs: Sequence[MigrationRef], *, epoch: int
) -> tuple[MarkerEntry, ...]:
    """Entries that say that exactly `refs` are applied; what was known of them is kept."""
    known = {entry.ref: entry for entry in entries if entry.state == "applied"}
    return tuple(
        known.get(ref) or MarkerEntry(ref=ref, state="applied", direction="up", step=0, epoch=epoch)
        for ref in refs
    )
