"""Cuts records into batches and keeps count of what the pass has delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from connector_svc.domain.checkpoint import encode_checkpoint
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.shopify import issues
from connector_svc.platforms.shopify.delivered import Delivered
from connector_svc.platforms.shopify.position import FINGERPRINT, Position
from connector_svc.platforms.shopify.record import Record

_BATCH_BYTES = 768 * 1024
"""A batch is closed when it has about so many; a message may hold 1 MiB."""
_NO_ID = "a product without a usable id was set aside: it cannot be told which one it is"


@dataclass(slots=True)
class _Draft:
    products: list[Product]
    issues: list[RecordIssue]
    size: int = 0


class Tally:
    """The pass so far; `position` is behind the last batch."""

    def __init__(self, request: FetchRequest, position: Position) -> None:
        self.position = position
        self.delivered = Delivered(position.delivered, position.last_id)
        self._request = request

    def warn(self, warnings: Iterable[str]) -> None:
        """Notes what makes the pass unsafe to conclude deletions from."""
        fresh = [text for text in warnings if text not in self.position.warnings]
        if fresh:
            self._advance(warnings=(*self.position.warnings, *fresh))

    def note(self, text: str) -> None:
        """Notes for people what came to light."""
        self._advance(notes=(*self.position.notes, text))

    def begin_anew(self, count: int) -> bytes:
        """The checkpoint at the first of `count` products, everything but the counts forgotten."""
        self.delivered = Delivered(b"", 0)
        turns = self.position.turns + 1
        return self.moved(last_id=0, settled=0, estimated_products=count, turns=turns)

    def moved(self, **changes: object) -> bytes:
        """The checkpoint at the position that `changes` lead to, for a batch without products."""
        self._advance(**changes)
        return self._sealed()

    def batches(self, records: Iterable[Record]) -> Iterator[Batch]:
        """The records of a page in batches of at most max_batch_products and about 768 KiB.

        A product that came before is told as a duplicate and not delivered again.
        """
        return self._cut(records, self._take)

    def late(self, records: Iterable[Record]) -> Iterator[Batch]:
        """The same for products that were read by id, in ascending order, after the pages.

        Products with higher ids than the last page were created meanwhile. `last_id` moves past them, or a resumed
        pass would deliver them again.
        """
        return self._cut(records, self._add)

    def _cut(self, records: Iterable[Record], take: Callable[[Record, _Draft], None]) -> Iterator[Batch]:
        draft = _Draft([], [])
        for record in records:
            size = _size_of(record.product) if record.product else 0
            full = len(draft.products) >= self._request.max_batch_products
            if draft.products and record.product and (full or draft.size + size > _BATCH_BYTES):
                yield self._closed(draft)
                draft = _Draft([], [])
            draft.size += size
            take(record, draft)
        if draft.products or draft.issues:
            yield self._closed(draft)

    def _take(self, record: Record, draft: _Draft) -> None:
        number = int(record.product_id or 0)
        if number and number <= self.position.last_id:
            draft.issues.append(issues.duplicate(record.product_id))
            return
        self._add(record, draft)
        if not number:
            self.warn((_NO_ID,))

    def _is_new(self, record: Record) -> bool:
        """Whether it was made after the pass began."""
        created = record.product.created_at if record.product else None
        return created is not None and created > self.position.watermark

    def _add(self, record: Record, draft: _Draft) -> None:
        number = int(record.product_id or 0)
        draft.issues.extend(record.issues)
        counts = self.position.counts
        if record.product is None:
            counts = counts.plus(rejected=1)
        else:
            draft.products.append(record.product)
            counts = counts.plus(emitted=1, emitted_items=len(record.product.variants))
        self._advance(
            counts=counts,
            settled=self.position.settled + (not self._is_new(record)),
            last_id=max(number, self.position.last_id),
        )
        if number:
            self.delivered.add(number)

    def _closed(self, draft: _Draft) -> Batch:
        return Batch(
            products=tuple(draft.products),
            issues=tuple(draft.issues),
            checkpoint=self._sealed(),
        )

    def _sealed(self) -> bytes:
        self._advance(delivered=self.delivered.packed())
        return encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=self.position)

    def _advance(self, **changes: object) -> None:
        self.position = msgspec.structs.replace(self.position, **changes)


def _size_of(product: Product) -> int:
    """About the bytes of its message, rather too many than too few."""
    text = _width(product.description_html) + _width(product.title) + sum(map(_width, product.tags))
    images = sum(100 + len(image.url) + _width(image.alt_text) for image in product.images)
    return 500 + text + images + sum(map(_variant_size, product.variants))


def _variant_size(variant: Variant) -> int:
    # A title is the values of the options, so it counts twice.
    image = variant.image
    own_image = 100 + len(image.url) + _width(image.alt_text) if image else 0
    return 250 + 2 * _width(variant.title) + _width(variant.sku) + own_image


def _width(text: str) -> int:
    return len(text) if text.isascii() else 3 * len(text)
