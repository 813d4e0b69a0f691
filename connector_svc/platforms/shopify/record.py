"""A product on its way from a reply to a batch."""

from __future__ import annotations

import msgspec

from connector_svc.domain.product import Product
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.shopify import issues
from connector_svc.platforms.shopify.nodes import Found
from connector_svc.platforms.shopify.parse import parse_product
from connector_svc.platforms.shopify.wire import Count


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A product and how far it can be trusted."""

    product_id: str
    """Empty when it has none."""
    product: Product | None = None
    """None: set aside, see `issues`."""
    issues: tuple[RecordIssue, ...] = ()
    received: int = 0
    counted: Count | None = None
    has_more_variants: bool = False
    has_more_images: bool = False
    blamed: bool = False

    @property
    def is_miscounted(self) -> bool:
        """Whether other variants came than the platform counts."""
        return self.product is not None and not (self.counted is None or self.counted.agrees_with(self.received))

    @property
    def needs_second_look(self) -> bool:
        """Whether asking for the product alone may give more."""
        doubtful = self.has_more_variants or self.has_more_images or self.blamed or self.is_miscounted
        return bool(self.product_id) and doubtful

    def as_incomplete(self) -> Record:
        """The same with what came, told to be not all."""
        if self.product is None:
            return self
        counted = self.counted.count if self.counted else self.received
        return msgspec.structs.replace(
            self,
            product=msgspec.structs.replace(self.product, variants_complete=False),
            issues=(*self.issues, issues.incomplete(self.product_id, self.received, counted)),
        )


def record_of(found: Found) -> Record:
    """What `found` gives."""
    if found.node is None:
        return Record(product_id=found.product_id, issues=found.issues, blamed=found.blamed)
    parsed = parse_product(found.node)
    product = parsed.product
    if product is not None and found.dropped:
        product = msgspec.structs.replace(product, variants_complete=False)
    return Record(
        product_id=found.product_id,
        product=product,
        issues=found.issues + parsed.issues,
        received=parsed.received + found.dropped,
        counted=found.node.variants_count,
        has_more_variants=found.node.variants.page_info.has_next_page,
        has_more_images=found.node.media.page_info.has_next_page,
        blamed=found.blamed,
    )


def unreadable_record(product_id: str) -> Record:
    """A product that the platform fails to deliver."""
    return Record(product_id=product_id, issues=(issues.unreadable(product_id),))
