"""What a run was to do and what the fleet was then, as texts that the ledger keeps by their hash.

Invariant: equal fleets and equal plans are the same bytes, so that keeping one again costs
nothing; what was read from disk and from the sources then can be read back without either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from ledger.dialects.steps import DialectName, Section, Step, sha256_hex
from ledger.engines.base import Target
from ledger.events import FleetSeen, MigrationRef
from ledger.plan import Catalogue
from ledger.scripts.graph import order_sets
from ledger.scripts.model import Migration, MigrationSet
from ledger.scripts.version import version_key

UNKNOWN: Final = -1
"""The index of the catalogue of a tenant that no run has chosen since it came."""


class RecordedMigration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A migration as it lay in the folder: its hash, and what it depends on. Its text may not be kept."""

    ref: MigrationRef
    depends: tuple[tuple[str, str], ...] = ()


class RecordedSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A set of migrations; `target` caps a run."""

    name: str
    dialect: DialectName
    migrations: tuple[RecordedMigration, ...] = ()
    target: str | None = None


class RecordedFleet(msgspec.Struct, frozen=True, kw_only=True):
    """All tenants that the sources named: name, engine, and the index of the catalogue it follows."""

    tenants: tuple[tuple[str, DialectName, int], ...]
    catalogues: tuple[tuple[RecordedSet, ...], ...]
    out_of_order: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The tenants' names."""
        return frozenset(name for name, _, _ in self.tenants)

    @property
    def follows(self) -> tuple[str, ...]:
        """The SHA-256 of each catalogue that a tenant follows."""
        pairs = {(engine, index) for _, engine, index in self.tenants if index != UNKNOWN}
        catalogues = self.catalogues
        return tuple(
            sorted(
                kept(RecordedCatalogue(engine=engine, sets=catalogues[index])).sha256
                for engine, index in pairs
            )
        )


class RecordedCatalogue(msgspec.Struct, frozen=True, kw_only=True):
    """The sets that a tenant of this engine follows."""

    engine: DialectName
    sets: tuple[RecordedSet, ...]


class RecordedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A run's plan: its tenants in order, each with the index of its `work`, under these options.

    `work` are migrations to apply or undo, in order; `fleet` is the SHA-256 of the RecordedFleet.
    """

    command: str
    target: str | None
    options: dict[str, str]
    fleet: str
    tenants: tuple[tuple[str, int], ...]
    work: tuple[tuple[MigrationRef, ...], ...]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A text and its SHA-256."""

    sha256: str
    text: str


News = tuple[FleetSeen, Kept]
"""What was seen of the fleet, and the text that it names."""


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """What a run records with its begin, in the same append: its plan, and the fleet if it is news."""

    plan: Kept
    seen: tuple[News, ...] = ()

    @property
    def scripts(self) -> dict[str, str]:
        """The texts, by SHA-256."""
        texts = (self.plan, *(text for _, text in self.seen))
        return {text.sha256: text.text for text in texts}


def kept(value: RecordedFleet | RecordedCatalogue | RecordedPlan) -> Kept:
    """The value as a text."""
    text = _ENCODER.encode(value).decode()
    return Kept(sha256=sha256_hex(text), text=text)


def read_fleet(text: str) -> RecordedFleet:
    """The value of a kept text, whose hash was checked."""
    return _FLEET.decode(text)


def read_catalogue(text: str) -> RecordedCatalogue:
    """The value of a kept text, whose hash was checked."""
    return _CATALOGUE.decode(text)


def read_plan(text: str) -> RecordedPlan:
    """The value of a kept text, whose hash was checked."""
    return _PLAN.decode(text)


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_FLEET: Final = msgspec.json.Decoder(RecordedFleet)
_CATALOGUE: Final = msgspec.json.Decoder(RecordedCatalogue)
_PLAN: Final = msgspec.json.Decoder(RecordedPlan)


def record_fleet(
    found: Sequence[Target],
    catalogues: Mapping[str, Catalogue],
    before: RecordedFleet | None,
    *,
    out_of_order: bool,
) -> RecordedFleet:
    """All tenants that were `found`; of one that was not chosen, its catalogue is as it was `before`."""
    kept_sets: list[tuple[RecordedSet, ...]] = []
    places: dict[int, int] = {}
    for catalogue in catalogues.values():
        if id(catalogue) in places:
            continue
        sets = tuple(_recorded(each_set) for each_set in catalogue.sets)
        places[id(catalogue)] = _place(kept_sets, sets)
    old = {name: index for name, _, index in before.tenants} if before is not None else {}
    tenants: list[tuple[str, DialectName, int]] = []
    for target in found:
        catalogue_now = catalogues.get(target.name)
        index = UNKNOWN
        if catalogue_now is not None:
            index = places[id(catalogue_now)]
        elif before is not None and old.get(target.name, UNKNOWN) != UNKNOWN:
            index = _place(kept_sets, before.catalogues[old[target.name]])
        tenants.append((target.name, target.engine, index))
    return RecordedFleet(
        tenants=tuple(tenants), catalogues=tuple(kept_sets), out_of_order=out_of_order
    )


def record_catalogue(engine: DialectName, catalogue: Catalogue) -> RecordedCatalogue:
    """What a tenant of this engine follows."""
    return RecordedCatalogue(
        engine=engine, sets=tuple(_recorded(each_set) for each_set in catalogue.sets)
    )


def with_followed(fleet: RecordedFleet, followed: Mapping[str, RecordedCatalogue]) -> RecordedFleet:
    """The fleet with these tenants, whether it has them already or not, as they were seen since."""
    if not followed:
        return fleet
    catalogues = list(fleet.catalogues)
    tenants = {name: (name, engine, index) for name, engine, index in fleet.tenants}
    for name, one in followed.items():
        tenants[name] = (name, one.engine, _place(catalogues, one.sets))
    return msgspec.structs.replace(
        fleet,
        tenants=tuple(tenants[name] for name in sorted(tenants)),
        catalogues=tuple(catalogues),
    )


def _place(places: list[tuple[RecordedSet, ...]], sets: tuple[RecordedSet, ...]) -> int:
    if sets not in places:
        places.append(sets)
    return places.index(sets)


def _recorded(migration_set: MigrationSet) -> RecordedSet:
    return RecordedSet(
        name=migration_set.name,
        dialect=migration_set.dialect,
        target=migration_set.target,
        migrations=tuple(
            RecordedMigration(ref=_bare(each.ref), depends=each.depends)
            for each in migration_set.migrations
        ),
    )


def _bare(ref: MigrationRef) -> MigrationRef:
    """Without where its texts are kept: they are kept only once it runs."""
    return msgspec.structs.replace(ref, sources=())


def record_plan(
    command: str,
    todo: Sequence[Target],
    work_of: Callable[[Target], Sequence[MigrationRef]] | None,
    *,
    fleet: str,
    target: str | None,
    options: dict[str, str],
) -> RecordedPlan:
    """The plan of a run over `todo`."""
    work: dict[tuple[MigrationRef, ...], int] = {}
    known: dict[int, int] = {}
    alive: list[object] = []  # An id says which object it is only while that lives.
    tenants: list[tuple[str, int]] = []
    for each in todo:
        refs = work_of(each) if work_of is not None else ()
        index = known.get(id(refs))
        if index is None:
            alive.append(refs)
            index = known[id(refs)] = work.setdefault(tuple(map(_bare, refs)), len(work))
        tenants.append((each.name, index))
    return RecordedPlan(
        command=command,
        target=target,
        options=options,
        fleet=fleet,
        tenants=tuple(tenants),
        work=tuple(work),
    )


def catalogue_of(sets: Sequence[RecordedSet]) -> Catalogue:
    """A catalogue to decide by, whose migrations have no steps of their own."""
    made = tuple(
        MigrationSet(
            name=each_set.name,
            path=each_set.name,
            dialect=each_set.dialect,
            target=each_set.target,
            migrations=tuple(_migration(each, each_set.dialect) for each in each_set.migrations),
        )
        for each_set in sets
    )
    return Catalogue(sets=made, order=order_sets(made))


_SOMETHING: Final = Step(number=1, name="", sql="SELECT 1", file="", line=1, sha256="")
"""Stands for the steps, which are kept only once they run."""


def _migration(migration: RecordedMigration, dialect: DialectName) -> Migration:
    return Migration(
        ref=migration.ref,
        key=version_key(migration.ref.version) or (0,),
        path=f"{migration.ref.id}_{migration.ref.name}",
        up=Section(steps=(_SOMETHING,)),
        depends=migration.depends,
        dialect=dialect,
    )
