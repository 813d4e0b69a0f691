"""Makes products of what a store sends.

What was decided where the store leaves a choice:
- A simple, external, grouped or unknown product is one item with the product's own id; a grouped one has the
  price of its cheapest part, as the store says. A variable one is its variations, which may be none.
- A variation without an own SKU has its parent's, as the store shows it in the shop, on orders and (greyed) in
  its editor; the API tells no difference.
- A disabled variation (status private) is an item that is not available: the editor shows it, the shop does not.
- Pending and scheduled products are drafts; one that is hidden from the catalog is unlisted.
- Available: published (with its parent), purchasable, has a price, and is not out of stock. An external or grouped
  product is never purchasable itself, and is available all the same.
- With stock counted by the parent each variation shows the parent's number: they must not be added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from connector_svc.platforms.woocommerce.family import Family
from connector_svc.platforms.woocommerce.offer import compare_at_price_of, is_available, quantity
from connector_svc.platforms.woocommerce.record import Broken
from connector_svc.platforms.woocommerce.values import decimal_of, price_of, unescaped, utc
from connector_svc.platforms.woocommerce.wire import GoodsRow, ImageRow, ProductRow, VariationRow

_STATUSES: Final = {"publish": ProductStatus.ACTIVE, "private": ProductStatus.PRIVATE}
_NEVER_LISTED: Final = frozenset({"trash", "auto-draft"})
_POLICIES: Final = {
    "no": InventoryPolicy.DENY,
    "yes": InventoryPolicy.CONTINUE,
    "notify": InventoryPolicy.CONTINUE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A product, or why there is none."""

    product: Product | None
    issues: tuple[RecordIssue, ...] = ()


class Parser:
    """Parses the records of one store."""

    def __init__(self, weight_unit: str) -> None:
        self._weight_unit = weight_unit

    def parse(self, record: ProductRow | Broken, family: Family, blemishes: Sequence[Fault] = ()) -> Parsed:
        """The product of `record`; `family` holds its variations if it is variable. Never raises."""
        if isinstance(record, Broken):
            return Parsed(product=None, issues=(record.fault.to_issue(record.id, rejected=True),))
        issues = [fault.to_issue(record.id) for fault in blemishes]
        try:
            product = self._product(record, family, issues)
        except InvalidRecord as unfit:
            return Parsed(product=None, issues=(*issues, unfit.fault.to_issue(record.id, rejected=True)))
        return Parsed(product=product, issues=tuple(issues))

    def _product(self, row: ProductRow, family: Family, issues: list[RecordIssue]) -> Product:
        if row.status in _NEVER_LISTED:
            raise InvalidRecord(_trashed(row))
        images = tuple([_image(image) for image in row.images if _is_absolute(image)])
        if len(images) < len(row.images):
            bad = (_bad_image("images", image) for image in row.images if not _is_absolute(image))
            issues.extend(fault.to_issue(row.id) for fault in bad)
        if row.is_variable():
            variants, complete = self._variants(row, family, issues)
        else:
            variants, complete = (self._only_variant(row),), True
        return Product(
            id=str(row.id),
            title=unescaped(row.name),
            handle=row.slug,
            description_html=row.description,
            product_type=row.type,
            tags=tuple([unescaped(tag.name) for tag in row.tags]),
            status=_product_status(row),
            url=row.permalink if isinstance(row.permalink, str) else "",
            options=_options(row),
            images=images,
            created_at=utc(row.date_created_gmt, "date_created_gmt"),
            updated_at=utc(row.date_modified_gmt),
            variants=variants,
            variants_complete=complete,
        )

    def _only_variant(self, row: ProductRow) -> Variant:
        return self._variant(row, published=row.status == "publish")

    def _variants(
        self, row: ProductRow, family: Family, issues: list[RecordIssue]
    ) -> tuple[tuple[Variant, ...], bool]:
        complete = not family.missing
        if family.missing:
            issues.append(_incomplete(row, family.missing))
        variants: list[Variant] = []
        for child in family.children:
            if family.blemishes:
                issues.extend(fault.to_issue(row.id, child.id) for fault in family.blemishes_of(child))
            try:
                variants.append(self._child(row, child, len(variants) + 1, issues))
            except InvalidRecord as unfit:
                complete = False
                issues.append(unfit.fault.to_issue(row.id, child.id))
        return tuple(variants), complete

    def _child(
        self, parent: ProductRow, child: VariationRow | Broken, position: int, issues: list[RecordIssue]
    ) -> Variant:
        if isinstance(child, Broken):
            raise InvalidRecord(child.fault)
        options = tuple(
            [
                SelectedOption(name=unescaped(choice.name), value=unescaped(choice.option))
                for choice in child.attributes
            ]
        )
        variant = self._variant(
            child,
            published=parent.status == "publish" and child.status == "publish",
            title=" / ".join([option.value for option in options]),
            options=options,
            image=_own_image(parent, child),
            position=position,
        )
        if child.image and not _is_absolute(child.image):
            issues.append(_bad_image("image", child.image).to_issue(parent.id, child.id))
        return variant

    def _variant(
        self,
        row: GoodsRow,
        *,
        published: bool,
        title: str = "",
        options: tuple[SelectedOption, ...] = (),
        image: Image | None = None,
        position: int = 1,
    ) -> Variant:
        price = price_of(row.price, "price")
        weight = decimal_of(row.weight) if self._weight_unit else None
        return Variant(
            id=str(row.id),
            title=title,
            sku=row.sku,
            barcode=row.global_unique_id,
            price=price,
            compare_at_price=compare_at_price_of(row, price),
            stock_quantity=quantity(row),
            inventory_policy=_POLICIES.get(row.backorders, InventoryPolicy.UNSPECIFIED),
            available=is_available(row, price, published=published),
            options=options,
            image=image,
            weight=weight,
            weight_unit=self._weight_unit if weight is not None else "",
            position=position,
            created_at=utc(row.date_created_gmt, "date_created_gmt"),
            updated_at=utc(row.date_modified_gmt),
        )


def _trashed(row: ProductRow) -> Fault:
    return Fault(
        reason=IssueReason.INVALID_FIELD,
        field="status",
        message="The store lists a trashed product.",
        sample=row.status[:SAMPLE_LENGTH],
    )


def _incomplete(row: ProductRow, missing: Sequence[int]) -> RecordIssue:
    return RecordIssue(
        reason=IssueReason.INCOMPLETE_VARIANTS,
        message=f"Variations that the store names for this product and does not list: {len(missing)}.",
        product_id=str(row.id),
        field="variations",
        sample=", ".join(map(str, missing))[:SAMPLE_LENGTH],
    )


def _product_status(row: ProductRow) -> ProductStatus:
    """Pending, scheduled and a plugin's own statuses are not published: drafts to us."""
    status = _STATUSES.get(row.status, ProductStatus.DRAFT)
    if status is ProductStatus.ACTIVE and row.catalog_visibility == "hidden":
        return ProductStatus.UNLISTED
    return status


def _options(row: ProductRow) -> tuple[ProductOption, ...]:
    if not row.is_variable():
        return ()
    return tuple(
        ProductOption(name=unescaped(attribute.name), values=tuple(map(unescaped, attribute.options)))
        for attribute in row.attributes
        if attribute.variation
    )


def _is_absolute(row: ImageRow) -> bool:
    return row.src.startswith(("https://", "http://"))


def _bad_image(field: str, row: ImageRow) -> Fault:
    return Fault(
        reason=IssueReason.INVALID_FIELD,
        field=field,
        message="The image has no http or https address; it is left out.",
        sample=row.src[:SAMPLE_LENGTH],
    )


def _image(row: ImageRow) -> Image:
    return Image(url=row.src, id=str(row.id) if row.id else "", alt_text=unescaped(row.alt or ""))


def _own_image(parent: ProductRow, child: VariationRow) -> Image | None:
    """None when the store filled in the parent's, which it does where a variation has none."""
    image = child.image
    if image is None or (parent.images and parent.images[0].id == image.id) or not _is_absolute(image):
        return None
    return _image(image)
