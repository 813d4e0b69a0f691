"""Makes products of what a store sends.

What was decided where the store leaves a choice:
- Every product is sold as its variants: one without options as its base variant, which then is its item.
- The price is what the storefront asks (`calculated_price`), the one to compare with is the regular price while
  less is asked. A variant without a price of its own has its product's. The suggested retail price is not read.
- Options are gathered from the variants: asking for them would allow 10 products per call instead of 250, and
  values that no variant has are not sold.
- With stock counted by the product each variant shows the product's number: they must not be added up.
- A product that is not visible is a draft.
- Available is what the store says can be bought now: a visible product that is for sale or for pre-order, a
  variant with a price whose purchase is not disabled, and, where stock is tracked, something left to sell,
  backorders included. What the store says in values that we do not know is not available, with an issue.
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
from connector_svc.platforms.bigcommerce.faults import bad_price, duplicate, incomplete, orphan, unknown
from connector_svc.platforms.bigcommerce.inventory import stock_of
from connector_svc.platforms.bigcommerce.record import Broken, Listed, utc
from connector_svc.platforms.bigcommerce.shop_info import StoreFacts
from connector_svc.platforms.bigcommerce.wire import AVAILABILITY, TRACKING, ImageRow, ProductRow, VariantRow

_FOR_SALE: Final = AVAILABILITY - {"disabled"}
_MOST_DIGITS: Final = 24
"""Before and after the point."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A product, or why there is none."""

    product: Product | None
    issues: tuple[RecordIssue, ...] = ()


class Parser:
    """Parses the records of one store."""

    def __init__(self, facts: StoreFacts) -> None:
        self._facts = facts

    def parse(self, record: Listed | Broken, brand: str = "") -> Parsed:
        """The product of `record`, made by `brand`. Never raises."""
        if isinstance(record, Broken):
            return Parsed(product=None, issues=(record.fault.to_issue(record.id, rejected=True),))
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
            created_at=utc(row.date_created),
            updated_at=utc(row.date_modified),
            variants=variants,
            variants_complete=complete,
        )
        return Parsed(product=product, issues=tuple(issues))

    def _variants(self, record: Listed, issues: list[RecordIssue]) -> tuple[tuple[Variant, ...], bool]:
        """Those that make sense, and whether they are all that the store has."""
        product_id, came = record.row.id, len(record.variants)
        complete = record.counted is None or record.counted <= came
        if not complete:
            issues.append(incomplete(came, record.counted or 0).to_issue(product_id))
        found: dict[int, Variant] = {}
        for row in record.variants:
            try:
                variant = self._variant(record, row, found)
            except InvalidRecord as unfit:
                complete &= unfit.fault.reason is IssueReason.DUPLICATE_ID
                issues.append(unfit.fault.to_issue(product_id, row.id))
                continue
            found[int(variant.id)] = variant
            issues.extend(
                fault.to_issue(product_id, row.id) for fault in record.variant_faults.get(int(variant.id), ())
            )
        return tuple(found.values()), complete

    def _variant(self, record: Listed, row: VariantRow | Broken, found: dict[int, Variant]) -> Variant:
        product = record.row
        if isinstance(row, Broken):
            raise InvalidRecord(row.fault)
        if row.product_id not in (None, product.id):
            raise InvalidRecord(orphan(row.product_id or 0))
        if row.id in found:
            raise InvalidRecord(duplicate())
        price, compare_at = _prices(product, row)
        weight = self._weight(row.weight if row.weight is not None else product.weight)
        options = tuple(SelectedOption(name=one.option_display_name, value=one.label) for one in row.option_values)
        stock = stock_of(record, row)
        simple = not options
        return Variant(
            id=str(row.id),
            title=" / ".join(option.value for option in options),
            sku=row.sku or "",
            barcode=_barcode(row) or (_barcode(product) if simple else ""),
            price=price,
            compare_at_price=compare_at,
            stock_quantity=stock.quantity,
            inventory_policy=stock.policy,
            available=price is not None and stock.sellable and _is_offered(product, row),
            options=options,
            image=_own_image(row),
            weight=weight,
            weight_unit=self._facts.weight_unit if weight is not None else "",
            position=len(found) + 1,
            created_at=utc(product.date_created),
        )

    def _weight(self, weight: Decimal | None) -> Decimal | None:
        if weight is None or not self._facts.weight_unit or not _is_plain(weight):
            return None
        return _written_out(weight * self._facts.weight_factor)

    def _url(self, row: ProductRow) -> str:
        if not self._facts.url or row.custom_url is None or not row.custom_url.url.startswith("/"):
            return ""
        return self._facts.url + row.custom_url.url


def _is_offered(product: ProductRow, variant: VariantRow) -> bool:
    """Whether the store would sell it, as far as stock allows."""
    return product.is_visible and product.availability in _FOR_SALE and not variant.purchasing_disabled


def _unknown_values(record: Listed) -> list[Fault]:
    blamed = {fault.field for fault in record.faults}
    values = (
        ("inventory_tracking", record.row.inventory_tracking, TRACKING),
        ("availability", record.row.availability, AVAILABILITY),
    )
    return [unknown(name, value) for name, value, known in values if value not in known and name not in blamed]


def stock_levels(record: Listed) -> tuple[StockLevel, ...]:
    """Stock and offers of the variants that make sense, as `Parser` would tell.

    A number of the default location alone does not replace one of all locations: such a variant is left out.
    """
    return tuple(
        StockLevel(
            product_id=str(record.row.id),
            variant_id=str(row.id),
            stock_quantity=stock.quantity,
            available=_has_price(record.row, row) and stock.sellable and _is_offered(record.row, row),
            offer=_offer(record.row, row),
        )
        for row in record.variants
        if isinstance(row, VariantRow) and row.product_id in (None, record.row.id)
        for stock in (stock_of(record, row),)
        if not (record.has_default_stock and stock.is_of_default_location)
    )


def _prices(product: ProductRow, row: VariantRow) -> tuple[Decimal | None, Decimal | None]:
    """What is asked, and what was asked before if that was more."""
    regular = _money(row.price, "price") if row.price is not None else _money(product.price, "price")
    asked = _money(row.calculated_price, "calculated_price")
    if asked is None and row.price is None:
        asked = _money(product.calculated_price, "calculated_price")
    price = regular if asked is None else asked
    return price, regular if price is not None and regular is not None and regular > price else None


def _offer(product: ProductRow, row: VariantRow) -> Offer | None:
    """Neither a variant nor its product is dated when the variant's price or SKU changes. None: makes no sense."""
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
    """With the store's own digits."""
    if value is None:
        return None
    if not _is_plain(value):
        raise InvalidRecord(bad_price(name, value))
    return _written_out(value)


def _is_plain(value: Decimal) -> bool:
    """Whether it is a number of at least zero that somebody could have written down."""
    if not value.is_finite() or value < 0:
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_MOST_DIGITS and value.adjusted() < _MOST_DIGITS


def _written_out(value: Decimal) -> Decimal:
    """1E+2 as 100: JSON may write it so, people do not."""
    return Decimal(f"{value:f}")


def _barcode(row: VariantRow | ProductRow) -> str:
    return row.gtin or row.upc or ""


def _options(variants: tuple[Variant, ...]) -> tuple[ProductOption, ...]:
    """Names and values in the order in which the variants show them."""
    values: dict[str, dict[str, None]] = {}
    for variant in variants:
        for option in variant.options:
            values.setdefault(option.name, {})[option.value] = None
    return tuple(ProductOption(name=name, values=tuple(found)) for name, found in values.items())


def _own_image(row: VariantRow) -> Image | None:
    url = row.image_url or ""
    return Image(url=url) if _is_url(url) else None


def _images(rows: list[ImageRow]) -> tuple[Image, ...]:
    """The one that stands for the product first, the others as the merchant sorted them."""
    ordered = sorted(rows, key=lambda row: (not row.is_thumbnail, row.sort_order, row.id))
    return tuple(
        Image(url=url, id=str(row.id) if row.id else "", alt_text=row.description or "")
        for row in ordered
        if _is_url(url := row.url_zoom or row.url_standard or "")
    )


def _is_url(text: str) -> bool:
    return text.startswith(("https://", "http://"))
