"""Batch writer: turns batches into messages of a size that every receiver accepts.

A batch above PART_BYTES is sent in parts. A part that does not complete its batch carries the checkpoint before
the batch and the ids that were sent since: a resume reads the batch again and leaves those out, so that nothing is
sent twice.

A product that no message can carry becomes an issue. The platform counted it as emitted, so the stream's
checkpoint remembers how many there were, through resumes, and the end moves them from emitted to rejected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from catalogsync.connector.v1 import connector_service_pb2 as pb

from connector_svc.domain.fetch import Batch, End
from connector_svc.domain.product import Product
from connector_svc.domain.records import IssueReason, RecordIssue
from connector_svc.rpc.convert import fill_product, issue_message, stock_level_message
from connector_svc.rpc.stream_checkpoint import StreamCheckpoint

PART_BYTES: Final = 1024 * 1024
MAX_PRODUCT_BYTES: Final = 3 * 1024 * 1024
"""Receivers accept 4 MiB, and the product's issues are in the same message."""
_SLICE_PRODUCTS: Final = 25
"""Products that are converted without a pause: other calls and streams are served after a few milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    """The messages of one product: the product, its issues, or both."""

    id: str
    product: pb.Product | None = None
    issues: Sequence[pb.RecordIssue] = ()
    unsendable: int = 0
    """1 for a product that no message can carry."""
    unsendable_items: int = 0

    @property
    def size(self) -> int:
        return (self.product.ByteSize() if self.product else 0) + sum(issue.ByteSize() for issue in self.issues)


class _Part:
    """One message of a batch, and the checkpoint after its records."""

    def __init__(self, checkpoint: StreamCheckpoint) -> None:
        self.message = pb.FetchProductsResponse()
        self.checkpoint = checkpoint
        self._size = 0

    def fits(self, size: int) -> bool:
        return not self._size or self._size + size <= PART_BYTES

    def add(self, record: _Record, size: int) -> None:
        self._size += size
        if record.product is not None:
            self.message.batch.products.append(record.product)
        self.message.batch.issues.extend(record.issues)
        self.checkpoint = replace(
            self.checkpoint,
            sent=self.checkpoint.sent | {record.id},
            unsendable=self.checkpoint.unsendable + record.unsendable,
            unsendable_items=self.checkpoint.unsendable_items + record.unsendable_items,
        )

    def incomplete_message(self) -> pb.FetchProductsResponse:
        """Return the message, which does not complete its batch."""
        self.message.batch.checkpoint = self.checkpoint.encode()
        return self.message


class BatchWriter:
    """Turns the batches of one stream into messages, and keeps the stream's checkpoint."""

    def __init__(self, checkpoint: StreamCheckpoint, *, redact: Callable[[str], str]) -> None:
        self._checkpoint = checkpoint
        self._redact = redact

    async def messages(self, batch: Batch) -> Iterable[pb.FetchProductsResponse]:
        """Return one message, or several if the batch is large. Consume all of them before the next batch."""
        issues = [issue_message(issue, self._redact) for issue in batch.issues]
        message = None if self._checkpoint.sent else await self._whole(batch, issues)
        return self._parts(batch, issues) if message is None else (message,)

    def end(self, end: End) -> End:
        """Return the end of the pass with the products that could not be sent counted as rejected."""
        return replace(
            end,
            emitted_count=end.emitted_count - self._checkpoint.unsendable,
            emitted_variant_count=end.emitted_variant_count - self._checkpoint.unsendable_items,
            rejected_count=end.rejected_count + self._checkpoint.unsendable,
        )

    async def _whole(self, batch: Batch, issues: Sequence[pb.RecordIssue]) -> pb.FetchProductsResponse | None:
        """Return the batch as one message, or None if it must be split. Nearly all batches need no split."""
        message = pb.FetchProductsResponse()
        try:
            for number, product in enumerate(batch.products, start=1):
                fill_product(message.batch.products.add(), product)
                if number % _SLICE_PRODUCTS == 0:
                    await asyncio.sleep(0)
        except ValueError:
            return None
        message.batch.issues.extend(issues)
        if message.ByteSize() > PART_BYTES:
            return None
        self._checkpoint = replace(self._checkpoint, platform=batch.checkpoint)
        self._finish(message, batch)
        return message

    def _parts(self, batch: Batch, issues: Sequence[pb.RecordIssue]) -> Iterator[pb.FetchProductsResponse]:
        sent_before = self._checkpoint.sent
        part = _Part(self._checkpoint)
        for record in self._records(batch, issues):
            if record.id in sent_before:
                continue
            size = record.size
            if not part.fits(size):
                yield part.incomplete_message()
                part = _Part(part.checkpoint)
            part.add(record, size)
        seen = {product.id for product in batch.products} | {issue.product_id for issue in batch.issues}
        self._checkpoint = replace(part.checkpoint, platform=batch.checkpoint, sent=sent_before - seen)
        self._finish(part.message, batch)
        yield part.message

    def _finish(self, message: pb.FetchProductsResponse, batch: Batch) -> None:
        message.batch.deleted_product_ids.extend(batch.deleted_product_ids)
        message.batch.listed_product_ids.extend(batch.listed_product_ids)
        message.batch.stock_levels.extend(map(stock_level_message, batch.stock_levels))
        message.batch.checkpoint = self._checkpoint.encode()

    def _records(self, batch: Batch, all_issues: Sequence[pb.RecordIssue]) -> Iterator[_Record]:
        """Yield products in the platform's order, then ids that only have issues, then issues without an id."""
        issues: dict[str, list[pb.RecordIssue]] = {}
        for issue in all_issues:
            issues.setdefault(issue.product_id, []).append(issue)
        missing_id = issues.pop("", [])
        for product in batch.products:
            yield self._record(product, issues.pop(product.id, []))
        for identifier, own in issues.items():
            yield _Record(id=identifier, issues=own)
        if missing_id:
            yield _Record(id="", issues=missing_id)

    def _record(self, product: Product, issues: Sequence[pb.RecordIssue]) -> _Record:
        message = pb.Product()
        try:
            fill_product(message, product)
        except ValueError:
            return self._unsendable(product, issues, IssueReason.INVALID_FIELD, "has a value that is out of range")
        if message.ByteSize() > MAX_PRODUCT_BYTES:
            text = f"with its variants is larger than {MAX_PRODUCT_BYTES // (1024 * 1024)} MiB"
            return self._unsendable(product, issues, IssueReason.TOO_LARGE, text)
        return _Record(id=product.id, product=message, issues=issues)

    def _unsendable(
        self, product: Product, issues: Sequence[pb.RecordIssue], reason: IssueReason, text: str
    ) -> _Record:
        issue = RecordIssue(
            reason=reason, message=f"The product {text}.", product_id=product.id, product_rejected=True
        )
        return _Record(
            id=product.id,
            issues=(*issues, issue_message(issue, self._redact)),
            unsendable=1,
            unsendable_items=len(product.variants),
        )
