"""The variations of one product, as far as they could be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from connector_svc.domain.records import Fault
from connector_svc.platforms.woocommerce.record import Broken
from connector_svc.platforms.woocommerce.wire import ProductRow, VariationRow

_SHOWN = frozenset({"publish", "private"})
"""Statuses that the store's own product editor shows; private: the merchant disabled the variation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Children in the order of the store's editor."""

    children: tuple[VariationRow | Broken, ...] = ()
    missing: tuple[int, ...] = ()
    """Ids that the parent names and no list holds."""
    removed: tuple[int, ...] = ()
    """Ids that the parent names and the store, asked for each, does not have."""
    gone: bool = False
    """Whether the product itself went while we read it."""
    blemishes: Mapping[int, tuple[Fault, ...]] = field(default_factory=dict)

    def blemishes_of(self, child: VariationRow | Broken) -> tuple[Fault, ...]:
        """What was left empty in `child`."""
        return self.blemishes.get(child.id, ()) if child.id is not None else ()


NO_FAMILY = Family()
"""Of a product that is not variable."""


class FamilyRecords:
    """Collects the variations of one product from lists in any order; one that comes twice counts once."""

    def __init__(self, parent: ProductRow) -> None:
        self.parent = parent
        self._named = parent.child_ids()
        self._found: dict[int, VariationRow | Broken] = {}
        self._nameless: list[Broken] = []
        self._removed: list[int] = []
        self._blemishes: dict[int, tuple[Fault, ...]] = {}

    def add(self, record: VariationRow | Broken, blemishes: tuple[Fault, ...] = ()) -> None:
        """Takes a record of this product."""
        if record.id is None:
            self._nameless.append(record)
            return
        if isinstance(record, VariationRow) and record.id not in self._named and record.status not in _SHOWN:
            return
        self._found[record.id] = record
        if blemishes:
            self._blemishes[record.id] = blemishes

    def missing(self) -> tuple[int, ...]:
        """Ids that the parent names and that did not come."""
        return tuple(child for child in self._named if child not in self._found)

    def narrow(self, named: tuple[int, ...]) -> None:
        """Takes a newer list of the parent's."""
        self._named = named

    def drop(self, child: int) -> None:
        """The store does not have this one, whatever the parent names."""
        self._named = tuple(named for named in self._named if named != child)
        self._removed.append(child)

    def family(self, *, gone: bool = False) -> Family:
        """What came, named ones first; ones that the parent does not name yet after them, by id."""
        named = [self._found[child] for child in self._named if child in self._found]
        others = [self._found[child] for child in sorted(self._found.keys() - set(self._named))]
        return Family(
            children=(*named, *others, *self._nameless),
            missing=self.missing(),
            removed=tuple(self._removed),
            gone=gone,
            blemishes=self._blemishes,
        )
