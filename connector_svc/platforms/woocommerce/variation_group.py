"""The variations of one product, as far as they could be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from connector_svc.domain.records import Fault
from connector_svc.platforms.woocommerce.json_salvage import RejectedRecord
from connector_svc.platforms.woocommerce.wire import ProductRow, VariationRow

_EDITOR_STATUSES = frozenset({"publish", "private"})
"""Statuses that the store's product editor shows; private: the merchant disabled the variation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VariationGroup:
    """The variations of one product in the order of the store's editor."""

    variations: tuple[VariationRow | RejectedRecord, ...] = ()
    missing: tuple[int, ...] = ()
    """Ids that the parent names and no list contains."""
    removed: tuple[int, ...] = ()
    """Ids that the parent names and that the store, asked for each, does not have."""
    is_parent_gone: bool = False
    """Whether the product itself was deleted or trashed while its variations were read."""
    field_faults: Mapping[int, tuple[Fault, ...]] = field(default_factory=dict)
    """See `DecodedRecords`."""

    def faults_of(self, variation: VariationRow | RejectedRecord) -> tuple[Fault, ...]:
        """Return the field faults of one of the variations."""
        return self.field_faults.get(variation.id, ()) if variation.id is not None else ()


EMPTY_GROUP = VariationGroup()
"""The group of a product that is not variable."""


class VariationGroupBuilder:
    """Collects the variations of one product from lists in any order, each variation once."""

    def __init__(self, parent: ProductRow) -> None:
        self.parent = parent
        self._named_ids = parent.child_ids()
        self._found: dict[int, VariationRow | RejectedRecord] = {}
        self._without_id: list[RejectedRecord] = []
        self._removed: list[int] = []
        self._field_faults: dict[int, tuple[Fault, ...]] = {}

    def add(self, record: VariationRow | RejectedRecord, field_faults: tuple[Fault, ...] = ()) -> None:
        """Add a record of this product."""
        if record.id is None:
            self._without_id.append(record)
            return
        is_named = record.id in self._named_ids
        if isinstance(record, VariationRow) and not is_named and record.status not in _EDITOR_STATUSES:
            return
        self._found[record.id] = record
        if field_faults:
            self._field_faults[record.id] = field_faults

    def missing(self) -> tuple[int, ...]:
        """Return the ids that the parent names and that have not been added."""
        return tuple(child for child in self._named_ids if child not in self._found)

    def set_named_ids(self, named_ids: tuple[int, ...]) -> None:
        """Replace the ids that the parent names by a newer list."""
        self._named_ids = named_ids

    def mark_removed(self, child: int) -> None:
        """Note that the store does not have this variation, although the parent names it."""
        self._named_ids = tuple(named_id for named_id in self._named_ids if named_id != child)
        self._removed.append(child)

    def build(self, *, is_parent_gone: bool = False) -> VariationGroup:
        """Return the group: named variations first, then by id those that the parent does not name yet."""
        named = [self._found[child] for child in self._named_ids if child in self._found]
        others = [self._found[child] for child in sorted(self._found.keys() - set(self._named_ids))]
        return VariationGroup(
            variations=(*named, *others, *self._without_id),
            missing=self.missing(),
            removed=tuple(self._removed),
            is_parent_gone=is_parent_gone,
            field_faults=self._field_faults,
        )
