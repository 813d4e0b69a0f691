"""Conversion of BigCommerce records to products.

Decisions where BigCommerce leaves a choice:
- Every product is sold as its variants; the item of a product without options is its base variant.
- The price is the storefront's (`calculated_price`). The compare-at price is the regular price while that is
  higher. A variant without a price of its own has its product's. The suggested retail price is not read.
- Options are collected from the variants: including them in the request would allow 10 products per call instead
  of 250, and values that no variant has are not sold.
- With stock tracked by the product each variant shows the product's number: the numbers must not be added up.
- A product that is not visible is a draft.
- An image has no version: its url contains the time of `date_modified`, as in `__60806.1534344511.1280.1280.jpg`.
- Available is what the store says can be bought now: a visible product that is for sale or for pre-order, a
  variant with a price whose purchase is not disabled, and, where stock is tracked, something left to sell,
  backorders included. An unknown value in one of these fields means not available, and has an issue.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from connector_svc.domain.fetch import Offer, StockLevel
from connector_svc.domain.product import (
    Image,
    Product,
    ProductOption,
    ProductStatus,
    SelectedOption,
    Variant,
)
from connector_svc.domain.records import Fault, InvalidRecord, IssueReason, RecordIssue
from connector_svc.platforms.bigcommerce.error_mapping import (
    duplicate_id,
    incomplete_variants,
    invalid_price,
    orphan_variant,
    unknown_value,
)
from connector_svc.platforms.bigcommerce.inventory import variant_stock
from connector_svc.platforms.bigcommerce.record_salvage import ListedProduct, RejectedRecord, to_utc
from connector_svc.platforms.bigcommerce.shop_info import StoreInfo
from connector_svc.platforms.bigcommerce.wire import AVAILABILITY, TRACKING, ImageRow, ProductRow, VariantRow

_FOR_SALE: Final = AVAILABILITY - {"disabled"}
_MAX_DIGITS: Final = 24
"""Before and after the decimal point."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRecord:
    """A product with its issues; without a product when the record is rejected."""

    product: Product | None
    issues: tuple[RecordIssue, ...] = ()


class ProductParser:
    """Converts the records of one store."""

    def __init__(self, store: StoreInfo) -> None:
        self._store = store

    def parse(self, record: ListedProduct | RejectedRecord, brand: str = "") -> ParsedRecord:
        """Convert `record` to a product with `brand` as its vendor. Never raises."""
        if isinstance(record, RejectedRecord):
            return ParsedRecord(product=None, issues=(record.fault.to_issue(record.id, rejected=True),))
        issues = [fault.to_issue(record.row.id) for fault in (*record.faults, *_unknown_values(record))]
        variants, complete = self._variants(record, issues)
        row = record.row
        product = Product(
            id=str(row.id),
            title=row.name,
            handle=row.custom_url.url.strip("/") if row.custom_url else "",
            description_html=row.description or "",
            vendor=brand,
            product_type=row.type,
            status=ProductStatus.ACTIVE if row.is_visible else ProductStatus.DRAFT,
            url=self._url(row),
            options=_options(variants),
            images=_images(row.images),
            created_at=to_utc(row.date_created),
            updated_at=to_utc(row.date_modified),
            variants=variants,
            variants_complete=complete,
        )
        return ParsedRecord(product=product, issues=tuple(issues))

    def _variants(self, record: ListedProduct, issues: list[RecordIssue]) -> tuple[tuple[Variant, ...], bool]:
        """Return the valid variants, and whether they are all that the store has; append to `issues`."""
        product_id, received = record.row.id, len(record.variants)
        complete = record.variant_count is None or record.variant_count <= received
        if not complete:
            issues.append(incomplete_variants(received, record.variant_count or 0).to_issue(product_id))
        variants: dict[int, Variant] = {}
        for row in record.variants:
            try:
                variant = self._variant(record, row, variants)
            except InvalidRecord as error:
                complete &= error.fault.reason is IssueReason.DUPLICATE_ID
                issues.append(error.fault.to_issue(product_id, row.id))
                continue
            variants[int(variant.id)] = variant
            issues.extend(
                fault.to_issue(product_id, row.id) for fault in record.variant_faults.get(int(variant.id), ())
            )
        return tuple(variants.values()), complete

    def _variant(
        self, record: ListedProduct, row: VariantRow | RejectedRecord, previous: dict[int, Variant]
    ) -> Variant:
        product = record.row
        if isinstance(row, RejectedRecord):
            raise InvalidRecord(row.fault)
        if row.product_id not in (None, product.id):
            raise InvalidRecord(orphan_variant(row.product_id or 0))
        if row.id in previous:
            raise InvalidRecord(duplicate_id())
        price, compare_at = _prices(product, row)
        weight = self._weight(row.weight if row.weight is not None else product.weight)
        options = tuple(SelectedOption(name=one.option_display_name, value=one.label) for one in row.option_values)
        stock = variant_stock(record, row)
        has_options = bool(options)
        return Variant(
            id=str(row.id),
            title=" / ".join(option.value for option in options),
            sku=row.sku or "",
            barcode=_barcode(row) or ("" if has_options else _barcode(product)),
            price=price,
            compare_at_price=compare_at,
            stock_quantity=stock.quantity,
            inventory_policy=stock.policy,
            available=price is not None and stock.sellable and _is_for_sale(product, row),
            options=options,
            image=_variant_image(row),
            weight=weight,
            weight_unit=self._store.weight_unit if weight is not None else "",
            position=len(previous) + 1,
            created_at=to_utc(product.date_created),
        )

    def _weight(self, weight: Decimal | None) -> Decimal | None:
        if weight is None or not self._store.weight_unit or not _is_plain_amount(weight):
            return None
        return _without_exponent(weight * self._store.weight_factor)

    def _url(self, row: ProductRow) -> str:
        if not self._store.storefront_url or row.custom_url is None or not row.custom_url.url.startswith("/"):
            return ""
        return self._store.storefront_url + row.custom_url.url


def _is_for_sale(product: ProductRow, variant: VariantRow) -> bool:
    """Return whether the store would sell the variant, regardless of its stock."""
    return product.is_visible and product.availability in _FOR_SALE and not variant.purchasing_disabled


def _unknown_values(record: ListedProduct) -> list[Fault]:
    faulty = {fault.field for fault in record.faults}
    values = (
        ("inventory_tracking", record.row.inventory_tracking, TRACKING),
        ("availability", record.row.availability, AVAILABILITY),
    )
    return [
        unknown_value(name, value) for name, value, known in values if value not in known and name not in faulty
    ]


def stock_levels(record: ListedProduct) -> tuple[StockLevel, ...]:
    """Return stock and offers of the valid variants, equal to those of `ProductParser.parse`.

    Stock of the default location alone must not replace stock of all locations: such variants are left out.
    """
    return tuple(
        StockLevel(
            product_id=str(record.row.id),
            variant_id=str(row.id),
            stock_quantity=stock.quantity,
            available=_has_price(record.row, row) and stock.sellable and _is_for_sale(record.row, row),
            offer=_offer(record.row, row),
        )
        for row in record.variants
        if isinstance(row, VariantRow) and row.product_id in (None, record.row.id)
        for stock in (variant_stock(record, row),)
        if not (record.has_default_stock and stock.is_of_default_location)
    )


def _prices(product: ProductRow, row: VariantRow) -> tuple[Decimal | None, Decimal | None]:
    """Return the price, and the compare-at price if it is higher. Raises InvalidRecord."""
    regular = _money(row.price, "price") if row.price is not None else _money(product.price, "price")
    calculated = _money(row.calculated_price, "calculated_price")
    if calculated is None and row.price is None:
        calculated = _money(product.calculated_price, "calculated_price")
    price = regular if calculated is None else calculated
    return price, regular if price is not None and regular is not None and regular > price else None


def _offer(product: ProductRow, row: VariantRow) -> Offer | None:
    """Return SKU and prices, whose change updates no date; None when a price is invalid."""
    try:
        price, compare_at = _prices(product, row)
    except InvalidRecord:
        return None
    return Offer(sku=row.sku or "", price=price, compare_at_price=compare_at)


def _has_price(product: ProductRow, row: VariantRow) -> bool:
    try:
        return _prices(product, row)[0] is not None
    except InvalidRecord:
        return False


def _money(value: Decimal | None, name: str) -> Decimal | None:
    """Return the amount with the store's digits. Raises InvalidRecord."""
    if value is None:
        return None
    if not _is_plain_amount(value):
        raise InvalidRecord(invalid_price(name, value))
    return _without_exponent(value)


def _is_plain_amount(value: Decimal) -> bool:
    """Return whether `value` is finite, at least zero, and has at most _MAX_DIGITS on each side of the point."""
    if not value.is_finite() or value < 0:
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_MAX_DIGITS and value.adjusted() < _MAX_DIGITS


def _without_exponent(value: Decimal) -> Decimal:
    """Return 1E+2, which JSON allows, as 100."""
    return Decimal(f"{value:f}")


def _barcode(row: VariantRow | ProductRow) -> str:
    return row.gtin or row.upc or ""


def _options(variants: tuple[Variant, ...]) -> tuple[ProductOption, ...]:
    """Return names and values in the order of their first appearance."""
    values: dict[str, dict[str, None]] = {}
    for variant in variants:
        for option in variant.options:
            values.setdefault(option.name, {})[option.value] = None
    return tuple(ProductOption(name=name, values=tuple(found)) for name, found in values.items())


def _variant_image(row: VariantRow) -> Image | None:
    url = row.image_url or ""
    return Image(url=url) if _is_http_url(url) else None


def _images(rows: list[ImageRow]) -> tuple[Image, ...]:
    """Return the main image first, the others in the merchant's order."""
    ordered = sorted(rows, key=lambda row: (not row.is_thumbnail, row.sort_order, row.id))
    return tuple(
        Image(url=url, id=str(row.id) if row.id else "", alt_text=row.description or "")
        for row in ordered
        if _is_http_url(url := row.url_zoom or row.url_standard or "")
    )


def _is_http_url(text: str) -> bool:
    return text.startswith(("https://", "http://"))
