"""Batch builder: groups records into batches, counts what was delivered, and writes the checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import PassCounts, encode_checkpoint
from connector_svc.domain.fetch import Batch, End, FetchRequest, StockLevel
from connector_svc.domain.product import Product
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.bigcommerce.error_mapping import duplicate_id
from connector_svc.platforms.bigcommerce.parse import ProductParser, stock_levels
from connector_svc.platforms.bigcommerce.record_salvage import ListedProduct, RejectedRecord, id_of, to_utc

FINGERPRINT: Final = "bigcommerce v3 products by id"
"""Checkpoints with another fingerprint are expired."""
_MAX_BATCH_BYTES: Final = 768 * 1024
"""Estimated size at which a batch is closed; a gRPC message may hold 1 MiB."""
_MAX_STOCK_LEVELS: Final = 5_000
"""Per batch: about 250 KiB."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """State of a pass after a batch, as the checkpoint stores it.

    The names in the JSON of stored checkpoints do not change, whatever the attributes are called.
    """

    watermark: datetime
    """Server time at the beginning of the pass, UTC."""
    last_id: int = 0
    """Products up to this id were seen."""
    counts: PassCounts = PassCounts()
    unchanged: int = msgspec.field(default=0, name="passed_by")
    """Products that an incremental pass saw without a change."""
    missing_id: int = msgspec.field(default=0, name="nameless")
    """Products rejected for a missing id: a later read cannot find out whether they still exist."""
    unlisted: int = 0
    """Products that the store counts and does not list."""
    default_stock: int = 0
    """Products with stock of the default location alone, although the pass reads all locations."""
    currency: str = ""
    """Of the store at the beginning of the pass; empty in checkpoints of older releases."""
    estimated_products: int | None = None
    estimated_items: int | None = None

    @property
    def seen(self) -> int:
        """Distinct products so far."""
        return self.counts.emitted + self.counts.rejected + self.unchanged


@dataclass(slots=True)
class _Draft:
    """Content of the batch that is being built."""

    products: list[Product] = field(default_factory=list)
    issues: list[RecordIssue] = field(default_factory=list)
    stock_levels: list[StockLevel] = field(default_factory=list)
    listed_ids: list[str] = field(default_factory=list)
    size_bytes: int = 0

    def is_empty(self) -> bool:
        return not (self.products or self.issues or self.listed_ids)


class BatchBuilder:
    """Builds the batches of one pass; `position` is the state after the last batch.

    An incremental pass reads every product as a full pass does: stock can change without a change of any date, and
    only reading everything finds it. For products without a change it sends only ids, stock and offers.
    """

    def __init__(self, request: FetchRequest, position: Position, parser: ProductParser) -> None:
        self.position = position
        self._request = request
        self._parser = parser
        after = request.updated_after
        # BigCommerce's dates have no fractions of a second.
        self._updated_after = after.replace(microsecond=0) if after else None

    def build(
        self, records: Iterable[ListedProduct | RejectedRecord], brands: Mapping[int, str]
    ) -> Iterator[Batch]:
        """Yield the records of a page in batches of at most max_batch_products and about 768 KiB.

        Args:
            brands: Brand names by id.
        """
        draft = _Draft()
        for record in records:
            if self._is_duplicate(record):
                draft.issues.append(duplicate_id().to_issue(id_of(record)))
                continue
            if not self._is_changed(record):
                if len(draft.stock_levels) >= _MAX_STOCK_LEVELS:
                    yield self._finish(draft)
                    draft = _Draft()
                self._add_unchanged(record, draft)
                continue
            parsed = self._parser.parse(record, _brand_name(record, brands))
            size_bytes = _estimated_size_bytes(parsed.product) if parsed.product else 0
            is_full = len(draft.products) >= self._request.max_batch_products
            if draft.products and parsed.product and (is_full or draft.size_bytes + size_bytes > _MAX_BATCH_BYTES):
                yield self._finish(draft)
                draft = _Draft()
            draft.size_bytes += size_bytes
            draft.issues.extend(parsed.issues)
            self._add_changed(record, parsed.product, draft)
        if not draft.is_empty():
            yield self._finish(draft)

    def deletions(self, product_ids: tuple[str, ...]) -> Batch:
        """Return a batch that marks requested products as deleted."""
        return Batch(products=(), deleted_product_ids=product_ids, checkpoint=self._checkpoint())

    def end(self, total: int) -> End:
        """Return the end of the pass; `total` is the number of products that the store counts."""
        counts, incremental = self.position.counts, self._updated_after is not None
        warnings = tuple(self._warnings())
        return End(
            source_count=counts.emitted + counts.rejected if incremental else total,
            emitted_count=counts.emitted,
            rejected_count=counts.rejected,
            emitted_variant_count=counts.emitted_items,
            warnings=warnings,
            all_listed=incremental and not warnings,
            notes=(*warnings, *self._notes()),
        )

    def _warnings(self) -> Iterator[str]:
        missing_id, unlisted = self.position.missing_id, self.position.unlisted
        if missing_id:
            yield f"{missing_id} products have no id and were rejected; nothing is marked as deleted."
        if unlisted:
            yield (
                f"The store counts {unlisted} products that it does not list; they were not read, and nothing is "
                "marked as deleted."
            )

    def _notes(self) -> Iterator[str]:
        if self.position.default_stock:
            yield (
                f"BigCommerce sent no stock by location for {self.position.default_stock} products: they have "
                "the stock of the default location, or keep their previous stock."
            )

    def _is_duplicate(self, record: ListedProduct | RejectedRecord) -> bool:
        number = id_of(record)
        return number is not None and number <= self.position.last_id

    def _is_changed(self, record: ListedProduct | RejectedRecord) -> bool:
        """Return whether the record changed since `updated_after`, or has no id or no date."""
        modified_at = (
            record.modified_at if isinstance(record, RejectedRecord) else to_utc(record.row.date_modified)
        )
        return (
            self._updated_after is None
            or id_of(record) is None
            or modified_at is None
            or modified_at >= self._updated_after
        )

    def _add_unchanged(self, record: ListedProduct | RejectedRecord, draft: _Draft) -> None:
        draft.listed_ids.append(str(id_of(record)))
        if isinstance(record, ListedProduct):
            draft.stock_levels.extend(stock_levels(record))
        self._advance(
            unchanged=self.position.unchanged + 1,
            default_stock=self.position.default_stock + _has_default_stock(record),
            last_id=id_of(record),
        )

    def _add_changed(self, record: ListedProduct | RejectedRecord, product: Product | None, draft: _Draft) -> None:
        number = id_of(record)
        if self._updated_after is not None and number is not None:
            draft.listed_ids.append(str(number))
        if product is None:
            counts = self.position.counts.plus(rejected=1)
        else:
            draft.products.append(product)
            counts = self.position.counts.plus(emitted=1, emitted_items=len(product.variants))
        unlisted = isinstance(record, RejectedRecord) and record.is_unlisted
        self._advance(
            counts=counts,
            missing_id=self.position.missing_id + (number is None and not unlisted),
            unlisted=self.position.unlisted + unlisted,
            default_stock=self.position.default_stock + _has_default_stock(record),
            last_id=number or self.position.last_id,
        )

    def _finish(self, draft: _Draft) -> Batch:
        return Batch(
            products=tuple(draft.products),
            issues=tuple(draft.issues),
            stock_levels=tuple(draft.stock_levels),
            listed_product_ids=tuple(draft.listed_ids),
            checkpoint=self._checkpoint(),
        )

    def _checkpoint(self) -> bytes:
        """Return the encoded position; empty for products by id, which are requested again instead of resumed."""
        if self._request.product_ids:
            return b""
        return encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=self.position)

    def _advance(self, **changes: object) -> None:
        self.position = msgspec.structs.replace(self.position, **changes)


def _has_default_stock(record: ListedProduct | RejectedRecord) -> bool:
    return isinstance(record, ListedProduct) and record.has_default_stock


def _brand_name(record: ListedProduct | RejectedRecord, brands: Mapping[int, str]) -> str:
    return "" if isinstance(record, RejectedRecord) else brands.get(record.row.brand_id or 0, "")


def _estimated_size_bytes(product: Product) -> int:
    """Estimate the size of the product's message, rather too large than too small."""
    text = _max_utf8_bytes(product.description_html) + _max_utf8_bytes(product.title)
    images = sum(100 + len(image.url) + _max_utf8_bytes(image.alt_text) for image in product.images)
    variants = sum(
        350 + 3 * _max_utf8_bytes(variant.title) + _max_utf8_bytes(variant.sku) for variant in product.variants
    )
    return 500 + text + images + variants


def _max_utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else 3 * len(text)
