"""Audits: stored products are compared, cell by cell, with what the platform returns for their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from catalog_svc.domain.records import ItemRecord, ProductRecord

DEFAULT_SAMPLE_SIZE: Final = 200
MAX_SAMPLE_SIZE: Final = 1_000
MAX_RECENT_PRODUCTS: Final = 250
"""Products that changed within the last hour and are compared in addition to the sample, the latest ones."""
MAX_REPORTED_DIFFERENCES: Final = 200


class DifferenceKind(Enum):
    """What differs."""

    VALUE = "VALUE"
    """The value of a field."""
    MISSING = "MISSING"
    """The platform has the product or item, and the catalog does not, or has it as deleted."""
    EXTRA = "EXTRA"
    """The catalog has the product or item, and the platform does not."""


class DifferenceCause(Enum):
    """Why the catalog differs from the platform."""

    DRIFT = "DRIFT"
    """The catalog is wrong: the platform has not changed the product since the catalog read it, or has dated the
    change long before the time as of which the catalog claims to be complete."""
    BEHIND = "BEHIND"
    """The platform has dated a change at or after that time: the next sync would have read it."""
    UNDATED = "UNDATED"
    """The platform does not date the change: it may be of a moment ago."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One cell, product or item in which the catalog and the platform differ."""

    product_id: str
    item_id: str = ""
    """Empty: the product itself."""
    kind: DifferenceKind
    cause: DifferenceCause
    field: str = ""
    """The column; empty unless the kind is VALUE."""
    stored: str = ""
    """The stored value as a text, truncated; empty if there is none."""
    found: str = ""
    """The platform's value."""
    stored_at: datetime | None = None
    """When the catalog last wrote the row; None: it has no such row."""
    source_updated_at: datetime | None = None
    """When the platform says that it last changed the product or item; None: it does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredItem:
    """An item as it is stored; numbers as texts."""

    record: ItemRecord
    deleted: bool
    updated_at: datetime
    feed_position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredProduct:
    """A product as it is stored."""

    record: ProductRecord
    deleted: bool
    deleted_by_writer: bool
    """Whether the tombstone has the times that the catalog's own writes give it."""
    updated_at: datetime
    feed_position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRows:
    """What is stored of one product."""

    product: StoredProduct | None
    items: Mapping[str, StoredItem]
    """By item id: the live items of the product, and what is stored under the ids that the platform returned."""

    def changed_since(self, feed_position: int) -> bool:
        """Return whether the catalog wrote any of the rows after this position."""
        rows = [*self.items.values(), *((self.product,) if self.product else ())]
        return any(row.feed_position > feed_position for row in rows)

    @property
    def is_live(self) -> bool:
        """Whether the product is stored and not deleted."""
        return self.product is not None and not self.product.deleted


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundProduct:
    """A product as the platform returned it."""

    product: ProductRecord
    items: Sequence[ItemRecord]
    variants_complete: bool
    """Whether all variants came: a stored item that is missing here does not exist."""

    @property
    def changed_at(self) -> datetime | None:
        """When the platform last changed the product or one of its items; None: it dates nothing."""
        return latest([self.product.source_updated_at, *(item.source_updated_at for item in self.items)])


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditResult:
    """What an audit found and did."""

    products_checked: int = 0
    items_checked: int = 0
    drifted: int = 0
    """Products that differ, by cause; one with several causes counts once, see `DifferenceCause`."""
    behind: int = 0
    undated: int = 0
    items_different: int = 0
    """Items that differ, in whatever way."""
    repaired: int = 0
    """Products that differed and were written as the platform has them."""
    rejected: int = 0
    """Products that the platform returned in a form that cannot be stored; they were not compared."""
    undecided: int = 0
    """Products that were not compared: syncs or refreshes wrote them all the time, or the platform did not say
    whether they exist."""
    missing_rows: int = 0
    """Products that the shop's counter has, and whose rows are gone, or were marked as deleted by others."""
    differences: tuple[Difference, ...] = ()
    """The first ones, at most MAX_REPORTED_DIFFERENCES."""

    @property
    def different(self) -> int:
        """Products that differ."""
        return self.drifted + self.behind + self.undated

    def __add__(self, other: AuditResult) -> AuditResult:
        return AuditResult(
            products_checked=self.products_checked + other.products_checked,
            items_checked=self.items_checked + other.items_checked,
            drifted=self.drifted + other.drifted,
            behind=self.behind + other.behind,
            undated=self.undated + other.undated,
            items_different=self.items_different + other.items_different,
            repaired=self.repaired + other.repaired,
            rejected=self.rejected + other.rejected,
            undecided=self.undecided + other.undecided,
            missing_rows=self.missing_rows + other.missing_rows,
            differences=(self.differences + other.differences)[:MAX_REPORTED_DIFFERENCES],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditProgress:
    """How far an audit is."""

    products_checked: int
    product_count: int
    """Products that are to be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSummary:
    """The last audit of a shop."""

    ended_at: datetime
    products_checked: int
    items_checked: int
    drifted: int
    """Products with drift; they were repaired unless the deletion guard forbade it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSample:
    """Products to compare, and where the catalog stands."""

    product_ids: tuple[str, ...]
    """A random sample of the stored products, and those that changed lately; each id once."""
    count_difference: int = 0
    """By how much the shop's counter of products exceeds the rows that are stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredState:
    """What is stored of some products, and as of when, all from one snapshot of the database."""

    rows: Mapping[str, StoredRows]
    """By product id, one for each that was asked for, with the live items of the product."""
    others: Mapping[str, StoredItem]
    """By item id: those that were asked for, and are deleted or stored under another product."""
    feed_position: int
    """The shop's position: rows that are written later have a higher one."""
    watermark: datetime | None

    def of(self, found: FoundProduct) -> StoredRows:
        """Return what is stored of a product, with whatever is stored under the ids of its items."""
        rows = self.rows[found.product.product_id]
        others = {item.item_id: self.others[item.item_id] for item in found.items if item.item_id in self.others}
        return replace(rows, items={**rows.items, **others})


@dataclass(frozen=True, kw_only=True, slots=True)
class SettledProducts:
    """What became of products that were read for a claim of an audit."""

    result: AuditResult = AuditResult()
    """Of those that are decided: they are equal, or differ for the second time and were repaired."""
    decided: frozenset[str] = frozenset()
    differing: frozenset[str] = frozenset()
    """Those that differ for the first time: they must be read again."""

    def __add__(self, other: SettledProducts) -> SettledProducts:
        return SettledProducts(
            result=self.result + other.result,
            decided=self.decided | other.decided,
            differing=self.differing | other.differing,
        )


def latest(times: Sequence[datetime | None]) -> datetime | None:
    """Return the latest time that is known; None: none is."""
    return max((time for time in times if time is not None), default=None)
