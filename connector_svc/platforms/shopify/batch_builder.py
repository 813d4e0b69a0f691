"""Cuts records into batches and keeps the position of the pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from connector_svc.domain.checkpoint import encode_checkpoint
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.shopify import issues
from connector_svc.platforms.shopify.delivered_ids import DeliveredIds
from connector_svc.platforms.shopify.parse import Record
from connector_svc.platforms.shopify.position import FINGERPRINT, Position

_MAX_BATCH_BYTES = 768 * 1024
"""Estimated size at which a batch is closed; a message may hold 1 MiB."""
_MISSING_ID_WARNING = "a product without a usable id was rejected: it cannot be identified"


@dataclass(slots=True)
class _OpenBatch:
    products: list[Product] = field(default_factory=list)
    issues: list[RecordIssue] = field(default_factory=list)
    size_bytes: int = 0


class BatchBuilder:
    """Builds the batches of a pass; `position` is the position after the last batch."""

    def __init__(self, request: FetchRequest, position: Position) -> None:
        self.position = position
        self.delivered = DeliveredIds(position.delivered_sketch, position.last_id)
        self._request = request

    def add_warnings(self, warnings: Iterable[str]) -> None:
        """Add reasons why deletions must not be concluded from the pass."""
        new = [text for text in warnings if text not in self.position.warnings]
        if new:
            self._update(warnings=(*self.position.warnings, *new))

    def add_note(self, text: str) -> None:
        """Add a finding for people."""
        self._update(notes=(*self.position.notes, text))

    def restart(self, count: int) -> bytes:
        """Return the checkpoint before the first of `count` products; of the pass so far only counts remain."""
        self.delivered = DeliveredIds(b"", 0)
        attempt = self.position.attempt + 1
        return self.checkpoint(last_id=0, preexisting=0, estimated_products=count, attempt=attempt)

    def checkpoint(self, **changes: object) -> bytes:
        """Apply `changes` to the position and return its checkpoint, for a batch without products."""
        self._update(**changes)
        return self._encode()

    def batches(self, records: Iterable[Record]) -> Iterator[Batch]:
        """Cut the records of a page into batches of at most max_batch_products and about 768 KiB.

        A product that arrived before is reported as a duplicate and not delivered again.
        """
        return self._cut(records, self._add_in_order)

    def out_of_order_batches(self, records: Iterable[Record]) -> Iterator[Batch]:
        """Cut products that were read by id, in ascending order, after the pages.

        Products with higher ids than the last page were created meanwhile. `last_id` moves past them, or a resumed
        pass would deliver them again.
        """
        return self._cut(records, self._add)

    def _cut(self, records: Iterable[Record], add: Callable[[Record, _OpenBatch], None]) -> Iterator[Batch]:
        batch = _OpenBatch()
        for record in records:
            size = _estimated_size(record.product) if record.product else 0
            is_full = len(batch.products) >= self._request.max_batch_products
            if batch.products and record.product and (is_full or batch.size_bytes + size > _MAX_BATCH_BYTES):
                yield self._close(batch)
                batch = _OpenBatch()
            batch.size_bytes += size
            add(record, batch)
        if batch.products or batch.issues:
            yield self._close(batch)

    def _add_in_order(self, record: Record, batch: _OpenBatch) -> None:
        product_id = int(record.product_id or 0)
        if product_id and product_id <= self.position.last_id:
            batch.issues.append(issues.duplicate(record.product_id))
            return
        self._add(record, batch)
        if not product_id:
            self.add_warnings((_MISSING_ID_WARNING,))

    def _add(self, record: Record, batch: _OpenBatch) -> None:
        product_id = int(record.product_id or 0)
        batch.issues.extend(record.issues)
        counts = self.position.counts
        if record.product is None:
            counts = counts.plus(rejected=1)
        else:
            batch.products.append(record.product)
            counts = counts.plus(emitted=1, emitted_items=len(record.product.variants))
        self._update(
            counts=counts,
            preexisting=self.position.preexisting + (not self._is_new(record)),
            last_id=max(product_id, self.position.last_id),
        )
        if product_id:
            self.delivered.add(product_id)

    def _is_new(self, record: Record) -> bool:
        """Return whether the product was created after the pass began."""
        created = record.product.created_at if record.product else None
        return created is not None and created > self.position.watermark

    def _close(self, batch: _OpenBatch) -> Batch:
        return Batch(products=tuple(batch.products), issues=tuple(batch.issues), checkpoint=self._encode())

    def _encode(self) -> bytes:
        self._update(delivered_sketch=self.delivered.packed())
        return encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=self.position)

    def _update(self, **changes: object) -> None:
        self.position = msgspec.structs.replace(self.position, **changes)


def _estimated_size(product: Product) -> int:
    """Estimate the bytes of the product's message, rather too many than too few."""
    text = _text_size(product.description_html) + _text_size(product.title) + sum(map(_text_size, product.tags))
    images = sum(100 + len(image.url) + _text_size(image.alt_text) for image in product.images)
    return 500 + text + images + sum(map(_estimated_variant_size, product.variants))


def _estimated_variant_size(variant: Variant) -> int:
    # The title consists of the option values, so its text is in the message twice.
    image = variant.image
    own_image = 100 + len(image.url) + _text_size(image.alt_text) if image else 0
    return 250 + 2 * _text_size(variant.title) + _text_size(variant.sku) + own_image


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else 3 * len(text)
