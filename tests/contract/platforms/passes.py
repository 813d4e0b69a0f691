"""Reads whole passes, or the beginning of one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header, Wait
from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import RecordIssue
from tests.contract.platforms.harness import PlatformHarness


@dataclass(slots=True)
class Pass:
    """The events and waits of a pass."""

    events: list[FetchEvent] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)

    @property
    def header(self) -> Header:
        [header] = [event for event in self.events if isinstance(event, Header)]
        return header

    @property
    def end(self) -> End:
        [end] = [event for event in self.events if isinstance(event, End)]
        return end

    @property
    def batches(self) -> list[Batch]:
        return [event for event in self.events if isinstance(event, Batch)]

    @property
    def products(self) -> list[Product]:
        return [product for batch in self.batches for product in batch.products]

    @property
    def by_id(self) -> dict[str, Product]:
        return {product.id: product for product in self.products}

    @property
    def variants(self) -> dict[str, tuple[Product, Variant]]:
        return {variant.id: (product, variant) for product in self.products for variant in product.variants}

    @property
    def issues(self) -> list[RecordIssue]:
        return [issue for batch in self.batches for issue in batch.issues]

    @property
    def deleted(self) -> list[str]:
        return [identifier for batch in self.batches for identifier in batch.deleted_product_ids]

    @property
    def ids(self) -> list[str]:
        return [product.id for product in self.products]


async def fetch(
    source: PlatformHarness,
    *,
    checkpoint: bytes = b"",
    batch: int = 250,
    after: datetime | None = None,
    batches: int | None = None,
    ids: Sequence[str] = (),
) -> Pass:
    """Read a pass to its end or until `batches` batches; only the products `ids`, if given."""
    found = Pass()
    request = FetchRequest(
        shop=source.shop,
        checkpoint=checkpoint,
        max_batch_products=batch,
        updated_after=after,
        product_ids=tuple(ids),
    )
    async with aclosing(source.platform.fetch(request, on_wait=found.waits.append)) as events:
        async for event in events:
            found.events.append(event)
            if batches is not None and len(found.batches) == batches:
                break
    return found
