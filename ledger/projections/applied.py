"""Applied sets: migrations in the order of applying; equal sets are one object."""

from __future__ import annotations

import sys

import msgspec

from ledger.events import MigrationRef

Applied = tuple[MigrationRef, ...]


class AppliedSets:
    """One object for each applied set, so that ten thousand equal tenants cost little more than one."""

    def __init__(self) -> None:
        self._pool: dict[Applied, Applied] = {}
        self._grown: dict[tuple[int, MigrationRef], Applied] = {}

    def intern(self, applied: Applied) -> Applied:
        """The one object that stands for this applied set."""
        found = self._pool.get(applied)
        if found is None:
            found = tuple([_canonical(ref) for ref in applied])
            self._pool[found] = found
        return found

    def grow(self, applied: Applied, ref: MigrationRef) -> Applied:
        """The interned set with `ref` joined last, found without hashing the whole set again.

        `applied` must be interned (every state's is): the pool keeps it alive, so that
        its id names it.
        """
        key = (id(applied), ref)
        found = self._grown.get(key)
        if found is None:
            found = self._grown[key] = self.intern(joined(applied, ref))
        return found


def _canonical(ref: MigrationRef) -> MigrationRef:
    """The same, so that it is stored as the same bytes wherever it came from.

    msgspec leaves out a field that *is* its default; a text out of another process, or out
    of a body that names it, only equals it.
    """
    algorithm = sys.intern(ref.algorithm)
    if algorithm is ref.algorithm:
        return ref
    return msgspec.structs.replace(ref, algorithm=algorithm)


def without(applied: Applied, ref: MigrationRef) -> Applied:
    """The applied set without `ref`."""
    return tuple(known for known in applied if (known.set, known.version) != (ref.set, ref.version))


def joined(applied: Applied, ref: MigrationRef) -> Applied:
    """The applied set with `ref` as its last."""
    return (*without(applied, ref), ref)
