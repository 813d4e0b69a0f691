"""Turns a variant's node into a variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from connector_svc.domain.product import Image, Variant
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.shopify import issues
from connector_svc.platforms.shopify.ids import number_of
from connector_svc.platforms.shopify.wire import Connection, IdNode, InventoryItemNode, VariantNode

DEFAULT_TITLE = "Default Title"
"""What Shopify calls the variant, and the option value, of a product that has no options."""

_ZERO = Decimal(0)
_UNITS: Mapping[str, str] = {"GRAMS": "g", "KILOGRAMS": "kg", "OUNCES": "oz", "POUNDS": "lb"}


@dataclass(kw_only=True, slots=True)
class VariantParser:
    """Parses the variants of one product and gathers what is wrong with them."""

    product_id: str
    is_sold: bool
    """Whether the product is offered at all."""
    images: Mapping[str, Image | None]
    """The product's, by gid; None: not processed yet."""
    issues: list[RecordIssue] = field(default_factory=list)

    def parse(self, node: VariantNode) -> Variant | None:
        """The variant; None, with an issue, when it has no usable id, price or time."""
        variant_id = number_of(node.id, "ProductVariant")
        if not variant_id:
            self.issues.append(issues.without_id(node.id, self.product_id))
            return None
        if not self._has_prices(node, variant_id):
            return None
        try:
            return self._variant(node, variant_id)
        except OverflowError:
            self.issues.append(issues.bad_time(self.product_id, variant_id))
            return None

    def _variant(self, node: VariantNode, variant_id: str) -> Variant:
        item = node.inventory_item
        is_default = node.title == DEFAULT_TITLE
        weight, unit = self._weight(item, variant_id)
        return Variant(
            id=variant_id,
            title="" if is_default else node.title,
            sku=node.sku or "",
            barcode=node.barcode or "",
            price=node.price,
            compare_at_price=node.compare_at_price,
            stock_quantity=node.inventory_quantity if item is None or item.tracked else None,
            inventory_policy=node.inventory_policy,
            available=self.is_sold and node.available_for_sale,
            options=() if is_default else node.selected_options,
            image=self._image(node.media),
            weight=weight,
            weight_unit=unit,
            position=node.position,
            created_at=utc(node.created_at),
            updated_at=utc(node.updated_at),
        )

    def _has_prices(self, node: VariantNode, variant_id: str) -> bool:
        if not is_amount(node.price):
            self.issues.append(issues.bad_price(self.product_id, variant_id, "price", node.price))
            return False
        before = node.compare_at_price
        if before is not None and not is_amount(before):
            self.issues.append(issues.bad_price(self.product_id, variant_id, "compareAtPrice", before))
            return False
        return True

    def _image(self, media: Connection[IdNode]) -> Image | None:
        return self.images.get(media.nodes[0].id) if media.nodes else None

    def _weight(self, item: InventoryItemNode | None, variant_id: str) -> tuple[Decimal | None, str]:
        if item is None or item.measurement is None or item.measurement.weight is None:
            return None, ""
        node = item.measurement.weight
        unit = _UNITS.get(node.unit)
        if unit is not None and is_amount(node.value):
            return node.value, unit
        self.issues.append(issues.bad_weight(self.product_id, variant_id, node.value, node.unit))
        return None, ""


def utc(time: datetime) -> datetime:
    """The same moment in UTC; raises OverflowError outside the calendar."""
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def is_amount(value: Decimal) -> bool:
    """Whether it is a number of at least zero that is not absurdly long when written out."""
    return value.is_finite() and value >= _ZERO and -13 < value.adjusted() < 16
