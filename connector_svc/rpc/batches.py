"""Batches as messages that every receiver takes.

A batch above PART_BYTES goes out in parts. A part that does not complete its batch carries the checkpoint before
the batch and the ids that were sent since: a resume reads the batch again and leaves those out, so that nothing
comes twice.

A product that no message can carry becomes an issue. The platform counted it as emitted, so the mark remembers
how many there were, through resumes, and the end shifts them from emitted to set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from catalogsync.connector.v1 import connector_service_pb2 as pb

from connector_svc.domain.fetch import Batch, End
from connector_svc.domain.product import Product
from connector_svc.domain.records import IssueReason, RecordIssue
from connector_svc.rpc.convert import fill_product, issue_message, level_message
from connector_svc.rpc.stream_checkpoint import StreamMark

PART_BYTES: Final = 1024 * 1024
MAX_PRODUCT_BYTES: Final = 3 * 1024 * 1024
"""Receivers take 4 MiB, and the product's issues come along."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    """What one product of the platform has become: itself, its issues, or both."""

    id: str
    product: pb.Product | None = None
    issues: Sequence[pb.RecordIssue] = ()
    unsent: int = 0
    """1 for a product that no message can carry."""
    unsent_items: int = 0

    @property
    def size(self) -> int:
        return (self.product.ByteSize() if self.product else 0) + sum(issue.ByteSize() for issue in self.issues)


class _Part:
    """One message of a batch, and the mark after its records."""

    def __init__(self, mark: StreamMark) -> None:
        self.message = pb.FetchProductsResponse()
        self.mark = mark
        self._size = 0

    def has_room(self, size: int) -> bool:
        return not self._size or self._size + size <= PART_BYTES

    def add(self, record: _Record, size: int) -> None:
        self._size += size
        if record.product is not None:
            self.message.batch.products.append(record.product)
        self.message.batch.issues.extend(record.issues)
        self.mark = replace(
            self.mark,
            sent=self.mark.sent | {record.id},
            unsent=self.mark.unsent + record.unsent,
            unsent_items=self.mark.unsent_items + record.unsent_items,
        )

    def closed(self) -> pb.FetchProductsResponse:
        """The message, to be continued within the same batch."""
        self.message.batch.checkpoint = self.mark.encode()
        return self.message


class BatchWriter:
    """Turns the batches of one stream into messages, and keeps the stream's mark."""

    def __init__(self, mark: StreamMark, *, redact: Callable[[str], str]) -> None:
        self._mark = mark
        self._redact = redact

    def messages(self, batch: Batch) -> Iterator[pb.FetchProductsResponse]:
        """One message, or several when the batch is large. Take all of them before the next batch."""
        issues = [issue_message(issue, self._redact) for issue in batch.issues]
        message = None if self._mark.sent else self._whole(batch, issues)
        if message is not None:
            yield message
        else:
            yield from self._parts(batch, issues)

    def end(self, end: End) -> End:
        """The end of the pass with true counts."""
        return replace(
            end,
            emitted_count=end.emitted_count - self._mark.unsent,
            emitted_item_count=end.emitted_item_count - self._mark.unsent_items,
            rejected_count=end.rejected_count + self._mark.unsent,
        )

    def _whole(self, batch: Batch, issues: Sequence[pb.RecordIssue]) -> pb.FetchProductsResponse | None:
        """The batch as one message; None when it needs a closer look. The way of nearly all batches."""
        message = pb.FetchProductsResponse()
        try:
            for product in batch.products:
                fill_product(message.batch.products.add(), product)
        except ValueError:
            return None
        message.batch.issues.extend(issues)
        if message.ByteSize() > PART_BYTES:
            return None
        self._mark = replace(self._mark, platform=batch.checkpoint)
        self._finish(message, batch)
        return message

    def _parts(self, batch: Batch, issues: Sequence[pb.RecordIssue]) -> Iterator[pb.FetchProductsResponse]:
        before = self._mark.sent
        part = _Part(self._mark)
        for record in self._records(batch, issues):
            if record.id in before:
                continue
            size = record.size
            if not part.has_room(size):
                yield part.closed()
                part = _Part(part.mark)
            part.add(record, size)
        met = {product.id for product in batch.products} | {issue.product_id for issue in batch.issues}
        self._mark = replace(part.mark, platform=batch.checkpoint, sent=before - met)
        self._finish(part.message, batch)
        yield part.message

    def _finish(self, message: pb.FetchProductsResponse, batch: Batch) -> None:
        message.batch.deleted_product_ids.extend(batch.deleted_product_ids)
        message.batch.listed_product_ids.extend(batch.listed_product_ids)
        message.batch.stock_levels.extend(map(level_message, batch.stock_levels))
        message.batch.checkpoint = self._mark.encode()

    def _records(self, batch: Batch, all_issues: Sequence[pb.RecordIssue]) -> Iterator[_Record]:
        """In the platform's order; last come those of which there are only issues, and no id at the very end."""
        issues: dict[str, list[pb.RecordIssue]] = {}
        for issue in all_issues:
            issues.setdefault(issue.product_id, []).append(issue)
        nameless = issues.pop("", [])
        for product in batch.products:
            yield self._record(product, issues.pop(product.id, []))
        for identifier, own in issues.items():
            yield _Record(id=identifier, issues=own)
        if nameless:
            yield _Record(id="", issues=nameless)

    def _record(self, product: Product, issues: Sequence[pb.RecordIssue]) -> _Record:
        message = pb.Product()
        try:
            fill_product(message, product)
        except ValueError:
            return self._unsendable(product, issues, IssueReason.INVALID_FIELD, "has a value out of all bounds")
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
            unsent=1,
            unsent_items=len(product.variants),
        )
