"""What the entries of a tenant's marker mean, and how they are kept small, the same on every engine.

Invariant: an entry loses results only in a write that comes after the ledger has recorded them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ledger.engines.work import MarkerEntry, StepResult, Work
from ledger.errors import FencedError, ForeignLedgerError, MarkerMismatchError
from ledger.events import MigrationRef, found_existing

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


class StoredRef(MigrationRef, frozen=True, kw_only=True, omit_defaults=True):
    """A reference as markers store it. `parts` are its `sources`, with an empty hash for the checksum itself.

    Earlier versions stored `sources`, and read this as a reference without any.
    """

    parts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, ref: MigrationRef) -> StoredRef:
        """The reference to be stored."""
        return cls(
            set=ref.set,
            version=ref.version,
            name=ref.name,
            checksum=ref.checksum,
            algorithm=ref.algorithm,
            parts=tuple((part, "" if sha == ref.checksum else sha) for part, sha in ref.sources),
        )

    @property
    def ref(self) -> MigrationRef:
        """The reference that was stored, in this way or in the older one."""
        return MigrationRef(
            set=self.set,
            version=self.version,
            name=self.name,
            checksum=self.checksum,
            algorithm=self.algorithm,
            sources=self.sources or tuple((part, sha or self.checksum) for part, sha in self.parts),
        )


def settled(entry: MarkerEntry) -> MarkerEntry:
    """An applied entry without what only a ledger that lacks its events would ask for.

    What decides which objects are the migration's own stays: a ledger that was put back from an older
    copy lacks it.
    """
    steps = tuple(filter(decides_ownership, entry.steps))
    return msgspec.structs.replace(entry, steps=steps, checks=(), measured=None)


def decides_ownership(step: StepResult) -> bool:
    """Whether the step was skipped, found its object, or is in no file: of Python, or what a sync section
    came to on this tenant.
    """
    known = step.skipped or step.effects or step.of
    return bool(known) or found_existing(step)


def with_sync(steps: Sequence[StepResult], work: Work) -> tuple[StepResult, ...]:
    """The results of a migration, in which those of its sync section say so by their `of`."""
    first = len(work.section.steps)
    return tuple(
        msgspec.structs.replace(step, of=steps[-1].number) if step.number > first else step
        for step in steps
    )


def adopted(
    entries: Iterable[MarkerEntry], refs: Sequence[MigrationRef], *, epoch: int
) -> tuple[MarkerEntry, ...]:
    """Entries that say that exactly `refs` are applied, and that is settled."""
    known = {entry.ref: settled(entry) for entry in entries if entry.state == "applied"}
    return tuple(
        known.get(ref) or MarkerEntry(ref=ref, state="applied", direction="up", step=0, epoch=epoch)
        for ref in refs
    )
