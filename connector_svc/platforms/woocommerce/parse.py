"""Convert the rows of a store to products and variants.

Decisions where WooCommerce leaves a choice:
- A simple, external, grouped or unknown product is one variant with the product's own id; the price of a grouped
  product is that of its cheapest part, as the store says. The variants of a variable product are its variations,
  which may be none.
- A variation without an SKU of its own has its parent's SKU, as the store shows it in the shop, on orders and
  (greyed) in its editor; the API does not show the difference.
- A disabled variation (status private) is a variant that is not available: the editor shows it, the shop does not.
- Pending and scheduled products are drafts; a product that is hidden from the catalog is unlisted.
- Available: published (with its parent), purchasable, has a price, and is not out of stock. External and grouped
  products are never purchasable themselves, and are available nevertheless.
- Where the parent manages the stock, each variation shows the parent's number: they must not be added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from connector_svc.domain.product import (
    Image,
    InventoryPolicy,
    Product,
    ProductOption,
    ProductStatus,
    SelectedOption,
    Variant,
)
from connector_svc.domain.records import SAMPLE_LENGTH, Fault, InvalidRecord, IssueReason, RecordIssue
from connector_svc.platforms.woocommerce.json_salvage import RejectedRecord
from connector_svc.platforms.woocommerce.variation_group import VariationGroup
from connector_svc.platforms.woocommerce.wire import (
    UNDELIVERED_STATUSES,
    ImageRow,
    ProductRow,
    SellableRow,
    VariationRow,
    parse_decimal,
    parse_price,
    to_utc,
    unescape_html,
)

_STATUSES: Final = {"publish": ProductStatus.ACTIVE, "private": ProductStatus.PRIVATE}
_POLICIES: Final = {
    "no": InventoryPolicy.DENY,
    "yes": InventoryPolicy.CONTINUE,
    "notify": InventoryPolicy.CONTINUE,
}
_MAX_VERSION_LENGTH: Final = 40
"""Of an image; a date has 19 characters."""
_OUT_OF_STOCK: Final = "outofstock"
_NOT_PURCHASABLE_TYPES: Final = frozenset({"external", "grouped"})
"""Product types that the store reports as not purchasable since they are bought elsewhere, or as their parts."""


def stock_quantity(row: SellableRow) -> int | None:
    """Return the stock; None: not tracked. Where the parent manages the stock it is the parent's number."""
    return row.stock_quantity if row.manage_stock else None


def is_available(row: SellableRow, price: Decimal | None, *, is_published: bool) -> bool:
    """Return whether customers can buy the row.

    WooCommerce's `is_in_stock()` is true for every status but "outofstock", so stock statuses of plugins, such as
    "preorder", are in stock.

    Args:
        is_published: Whether the row, with its parent, is published.
    """
    is_sold = row.purchasable or getattr(row, "type", "") in _NOT_PURCHASABLE_TYPES
    return is_published and is_sold and price is not None and row.stock_status != _OUT_OF_STOCK


def compare_at_price(row: SellableRow, price: Decimal | None) -> Decimal | None:
    """Return the regular price while the current price is lower, as during a sale; else None.

    Raises:
        InvalidRecord: The regular price is not a price.
    """
    if price is None or not row.sale_price:
        return None
    regular_price = parse_price(row.regular_price, "regular_price")
    return regular_price if regular_price is not None and regular_price > price else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedProduct:
    """A product with its issues."""

    product: Product | None
    """None: rejected; one of the issues says why."""
    issues: tuple[RecordIssue, ...] = ()


class ProductParser:
    """Converts the records of one store."""

    def __init__(self, weight_unit: str) -> None:
        """Create a parser; `weight_unit`: empty when it is unknown, weights are left out then."""
        self._weight_unit = weight_unit

    def parse(
        self, record: ProductRow | RejectedRecord, group: VariationGroup, field_faults: Sequence[Fault] = ()
    ) -> ParsedProduct:
        """Convert a record. Never raises.

        Args:
            group: The variations, if the product is variable.
            field_faults: Faults of `record` that do not reject it.
        """
        if isinstance(record, RejectedRecord):
            return ParsedProduct(product=None, issues=(record.fault.to_issue(record.id, rejected=True),))
        issues = [fault.to_issue(record.id) for fault in field_faults]
        try:
            product = self._product(record, group, issues)
        except InvalidRecord as error:
            return ParsedProduct(product=None, issues=(*issues, error.fault.to_issue(record.id, rejected=True)))
        return ParsedProduct(product=product, issues=tuple(issues))

    def _product(self, row: ProductRow, group: VariationGroup, issues: list[RecordIssue]) -> Product:
        if row.status in UNDELIVERED_STATUSES:
            raise InvalidRecord(_trashed_fault(row))
        images = tuple([_image(image) for image in row.images if _has_absolute_url(image)])
        if len(images) < len(row.images):
            faults = (_image_fault("images", image) for image in row.images if not _has_absolute_url(image))
            issues.extend(fault.to_issue(row.id) for fault in faults)
        if row.is_variable():
            variants, variants_complete = self._variants(row, group, issues)
        else:
            variants, variants_complete = (self._variant(row, is_published=row.status == "publish"),), True
        return Product(
            id=str(row.id),
            title=unescape_html(row.name),
            handle=row.slug,
            description_html=row.description,
            product_type=row.type,
            tags=tuple([unescape_html(tag.name) for tag in row.tags]),
            status=_product_status(row),
            url=row.permalink if isinstance(row.permalink, str) else "",
            options=_options(row),
            images=images,
            created_at=to_utc(row.date_created_gmt, "date_created_gmt"),
            updated_at=to_utc(row.date_modified_gmt),
            variants=variants,
            variants_complete=variants_complete,
        )

    def _variants(
        self, row: ProductRow, group: VariationGroup, issues: list[RecordIssue]
    ) -> tuple[tuple[Variant, ...], bool]:
        """Return the variants, and whether they are complete."""
        is_complete = not group.missing
        if group.missing:
            issues.append(_incomplete_variants_issue(row, group.missing))
        variants: list[Variant] = []
        for child in group.variations:
            if group.field_faults:
                issues.extend(fault.to_issue(row.id, child.id) for fault in group.faults_of(child))
            try:
                variants.append(self._variation(row, child, len(variants) + 1, issues))
            except InvalidRecord as error:
                is_complete = False
                issues.append(error.fault.to_issue(row.id, child.id))
        return tuple(variants), is_complete

    def _variation(
        self, parent: ProductRow, child: VariationRow | RejectedRecord, position: int, issues: list[RecordIssue]
    ) -> Variant:
        if isinstance(child, RejectedRecord):
            raise InvalidRecord(child.fault)
        options = tuple(
            [
                SelectedOption(name=unescape_html(attribute.name), value=unescape_html(attribute.option))
                for attribute in child.attributes
            ]
        )
        variant = self._variant(
            child,
            is_published=parent.status == "publish" and child.status == "publish",
            title=" / ".join([option.value for option in options]),
            options=options,
            image=_own_image(parent, child),
            position=position,
        )
        if child.image and not _has_absolute_url(child.image):
            issues.append(_image_fault("image", child.image).to_issue(parent.id, child.id))
        return variant

    def _variant(
        self,
        row: SellableRow,
        *,
        is_published: bool,
        title: str = "",
        options: tuple[SelectedOption, ...] = (),
        image: Image | None = None,
        position: int = 1,
    ) -> Variant:
        price = parse_price(row.price, "price")
        weight = parse_decimal(row.weight) if self._weight_unit else None
        return Variant(
            id=str(row.id),
            title=title,
            sku=row.sku,
            barcode=row.global_unique_id,
            price=price,
            compare_at_price=compare_at_price(row, price),
            stock_quantity=stock_quantity(row),
            inventory_policy=_POLICIES.get(row.backorders, InventoryPolicy.UNSPECIFIED),
            available=is_available(row, price, is_published=is_published),
            options=options,
            image=image,
            weight=weight,
            weight_unit=self._weight_unit if weight is not None else "",
            position=position,
            created_at=to_utc(row.date_created_gmt, "date_created_gmt"),
            updated_at=to_utc(row.date_modified_gmt),
        )


def _product_status(row: ProductRow) -> ProductStatus:
    """Return the status; pending, scheduled and a plugin's own statuses are not published, so they are drafts."""
    status = _STATUSES.get(row.status, ProductStatus.DRAFT)
    if status is ProductStatus.ACTIVE and row.catalog_visibility == "hidden":
        return ProductStatus.UNLISTED
    return status


def _options(row: ProductRow) -> tuple[ProductOption, ...]:
    if not row.is_variable():
        return ()
    return tuple(
        ProductOption(name=unescape_html(attribute.name), values=tuple(map(unescape_html, attribute.options)))
        for attribute in row.attributes
        if attribute.variation
    )


def _has_absolute_url(row: ImageRow) -> bool:
    return row.src.startswith(("https://", "http://"))


def _image(row: ImageRow) -> Image:
    return Image(
        url=row.src,
        id=str(row.id) if row.id else "",
        alt_text=unescape_html(row.alt or ""),
        version=(row.date_modified_gmt or "")[:_MAX_VERSION_LENGTH],
    )


def _own_image(parent: ProductRow, child: VariationRow) -> Image | None:
    """Return the variation's image; None when it is the parent's, which the store fills in where there is none."""
    image = child.image
    if image is None or (parent.images and parent.images[0].id == image.id) or not _has_absolute_url(image):
        return None
    return _image(image)


def _image_fault(field: str, row: ImageRow) -> Fault:
    return Fault(
        reason=IssueReason.INVALID_FIELD,
        field=field,
        message="The image has no http or https address; it is left out.",
        sample=row.src[:SAMPLE_LENGTH],
    )


def _trashed_fault(row: ProductRow) -> Fault:
    return Fault(
        reason=IssueReason.INVALID_FIELD,
        field="status",
        message="The store lists a trashed product.",
        sample=row.status[:SAMPLE_LENGTH],
    )


def _incomplete_variants_issue(row: ProductRow, missing: Sequence[int]) -> RecordIssue:
    return RecordIssue(
        reason=IssueReason.INCOMPLETE_VARIANTS,
        message=f"Variations that the store names for this product and does not list: {len(missing)}.",
        product_id=str(row.id),
        field="variations",
        sample=", ".join(map(str, missing))[:SAMPLE_LENGTH],
    )
