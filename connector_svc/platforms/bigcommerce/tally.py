"""Cuts records into batches and keeps count of what the pass has delivered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import encode_checkpoint
from connector_svc.domain.fetch import Batch, End, FetchRequest, StockLevel
from connector_svc.domain.product import Product
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.bigcommerce.faults import duplicate
from connector_svc.platforms.bigcommerce.parse import Parser, stock_levels
from connector_svc.platforms.bigcommerce.position import FINGERPRINT, Position
from connector_svc.platforms.bigcommerce.record import Broken, Listed, id_of, utc

_BATCH_BYTES: Final = 768 * 1024
"""A batch is closed when it has about so many; a message may hold 1 MiB."""
_MOST_LEVELS: Final = 5_000
"""Stock levels of a batch: about 250 KiB."""


@dataclass(slots=True)
class _Draft:
    products: list[Product] = field(default_factory=list)
    issues: list[RecordIssue] = field(default_factory=list)
    levels: list[StockLevel] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    size: int = 0

    def is_empty(self) -> bool:
        return not (self.products or self.issues or self.listed)


class Tally:
    """The pass so far; `position` is behind the last batch.

    An incremental pass looks at every product as a full one does, which is what it costs to see stock that moved
    without moving a date. Of those that did not change it tells the ids, the stock and the offers alone.
    """

    def __init__(self, request: FetchRequest, position: Position, parser: Parser) -> None:
        self.position = position
        self._request = request
        self._parser = parser
        after = request.updated_after
        # Dates have whole seconds.
        self._after = after.replace(microsecond=0) if after else None

    def batches(self, records: Iterable[Listed | Broken], brands: Mapping[int, str]) -> Iterator[Batch]:
        """The records of a page in batches of at most max_batch_products and about 768 KiB."""
        draft = _Draft()
        for record in records:
            if self._is_duplicate(record):
                draft.issues.append(duplicate().to_issue(id_of(record)))
                continue
            if not self._is_wanted(record):
                if len(draft.levels) >= _MOST_LEVELS:
                    yield self._closed(draft)
                    draft = _Draft()
                self._pass_by(record, draft)
                continue
            parsed = self._parser.parse(record, _brand(record, brands))
            size = _size_of(parsed.product) if parsed.product else 0
            full = len(draft.products) >= self._request.max_batch_products
            if draft.products and parsed.product and (full or draft.size + size > _BATCH_BYTES):
                yield self._closed(draft)
                draft = _Draft()
            draft.size += size
            draft.issues.extend(parsed.issues)
            self._take(record, parsed.product, draft)
        if not draft.is_empty():
            yield self._closed(draft)

    def end(self, total: int) -> End:
        """`total` products are what the store counts."""
        counts, incremental = self.position.counts, self._after is not None
        warnings = tuple(self._warnings())
        return End(
            source_count=counts.emitted + counts.rejected if incremental else total,
            emitted_count=counts.emitted,
            rejected_count=counts.rejected,
            emitted_item_count=counts.emitted_items,
            warnings=warnings,
            all_listed=incremental and not warnings,
            notes=(*warnings, *self._notes()),
        )

    def deleted(self, product_ids: tuple[str, ...]) -> Batch:
        """The batch that tells which of the products asked for by id the store does not have."""
        return Batch(products=(), deleted_product_ids=product_ids, checkpoint=self._checkpoint())

    def _warnings(self) -> Iterator[str]:
        nameless, unlisted = self.position.nameless, self.position.unlisted
        if nameless:
            yield f"{nameless} products came without an id and were rejected; nothing is marked as deleted."
        if unlisted:
            yield (
                f"The store counts {unlisted} products that it does not list; they were not read, and nothing is "
                "marked as deleted."
            )

    def _notes(self) -> Iterator[str]:
        if self.position.default_stock:
            yield (
                f"BigCommerce told no stock by location for {self.position.default_stock} products: theirs is "
                "that of the default location, or as it was."
            )

    def _is_duplicate(self, record: Listed | Broken) -> bool:
        number = id_of(record)
        return number is not None and number <= self.position.last_id

    def _is_wanted(self, record: Listed | Broken) -> bool:
        """Whether it changed in the window, or does not say."""
        modified = record.modified if isinstance(record, Broken) else utc(record.row.date_modified)
        return self._after is None or id_of(record) is None or modified is None or modified >= self._after

    def _pass_by(self, record: Listed | Broken, draft: _Draft) -> None:
        draft.listed.append(str(id_of(record)))
        if isinstance(record, Listed):
            draft.levels.extend(stock_levels(record))
        self._advance(
            passed_by=self.position.passed_by + 1,
            default_stock=self.position.default_stock + _has_default_stock(record),
            last_id=id_of(record),
        )

    def _take(self, record: Listed | Broken, product: Product | None, draft: _Draft) -> None:
        number = id_of(record)
        if self._after is not None and number is not None:
            draft.listed.append(str(number))
        if product is None:
            counts = self.position.counts.plus(rejected=1)
        else:
            draft.products.append(product)
            counts = self.position.counts.plus(emitted=1, emitted_items=len(product.variants))
        unlisted = isinstance(record, Broken) and record.is_unlisted
        self._advance(
            counts=counts,
            nameless=self.position.nameless + (number is None and not unlisted),
            unlisted=self.position.unlisted + unlisted,
            default_stock=self.position.default_stock + _has_default_stock(record),
            last_id=number or self.position.last_id,
        )

    def _closed(self, draft: _Draft) -> Batch:
        return Batch(
            products=tuple(draft.products),
            issues=tuple(draft.issues),
            stock_levels=tuple(draft.levels),
            listed_product_ids=tuple(draft.listed),
            checkpoint=self._checkpoint(),
        )

    def _checkpoint(self) -> bytes:
        """Empty for products by id: after a break they are asked for again."""
        if self._request.product_ids:
            return b""
        return encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=self.position)

    def _advance(self, **changes: object) -> None:
        self.position = msgspec.structs.replace(self.position, **changes)


def _has_default_stock(record: Listed | Broken) -> bool:
    return isinstance(record, Listed) and record.has_default_stock


def _brand(record: Listed | Broken, brands: Mapping[int, str]) -> str:
    return "" if isinstance(record, Broken) else brands.get(record.row.brand_id or 0, "")


def _size_of(product: Product) -> int:
    """About the bytes of its message, rather too many than too few."""
    text = _width(product.description_html) + _width(product.title)
    images = sum(100 + len(image.url) + _width(image.alt_text) for image in product.images)
    variants = sum(350 + 3 * _width(variant.title) + _width(variant.sku) for variant in product.variants)
    return 500 + text + images + variants


def _width(text: str) -> int:
    return len(text) if text.isascii() else 3 * len(text)
