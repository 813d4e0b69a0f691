"""Parses product nodes into records: a product, its issues, and whether all of it arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from connector_svc.domain.product import Image, Product, ProductOption, ProductStatus, Variant
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.shopify import issues
from connector_svc.platforms.shopify.node_decoding import DecodedNode
from connector_svc.platforms.shopify.wire import (
    Connection,
    Count,
    IdNode,
    InventoryItemNode,
    MediaNode,
    TypedProduct,
    VariantNode,
    numeric_id,
)

DEFAULT_TITLE = "Default Title"
"""Shopify's name of the variant, and of the option value, of a product that has no options."""

SELLABLE_STATUSES = frozenset({ProductStatus.ACTIVE, ProductStatus.UNLISTED})
"""Drafts and archived products cannot be bought, but Shopify's `availableForSale` considers only their stock.
Sales channels are not considered: a shop may sell through any of them."""

_NO_OPTIONS = (ProductOption(name="Title", values=(DEFAULT_TITLE,)),)
_ZERO = Decimal(0)
_WEIGHT_UNITS: Mapping[str, str] = {"GRAMS": "g", "KILOGRAMS": "kg", "OUNCES": "oz", "POUNDS": "lb"}


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A product and how complete it is."""

    product_id: str
    """Empty when the product has no usable id."""
    product: Product | None = None
    """None: rejected, see `issues`."""
    issues: tuple[RecordIssue, ...] = ()
    received_variants: int = 0
    """Distinct variants that arrived, usable or not."""
    variants_count: Count | None = None
    """The number of variants that Shopify counts."""
    has_more_variants: bool = False
    has_more_images: bool = False
    is_suspect: bool = False
    """Whether Shopify reported an error for it, or delivered other media than it counts."""

    @property
    def is_miscounted(self) -> bool:
        """Whether the number of variants differs from Shopify's count."""
        if self.product is None or self.variants_count is None:
            return False
        return not self.variants_count.agrees_with(self.received_variants)

    @property
    def needs_reread(self) -> bool:
        """Whether reading the product alone may deliver more of it."""
        is_doubtful = self.has_more_variants or self.has_more_images or self.is_suspect or self.is_miscounted
        return bool(self.product_id) and is_doubtful

    def as_incomplete(self) -> Record:
        """Return the record marked as incomplete, with the variants that arrived."""
        if self.product is None:
            return self
        counted = self.variants_count.count if self.variants_count else self.received_variants
        return msgspec.structs.replace(
            self,
            product=msgspec.structs.replace(self.product, variants_complete=False),
            issues=(*self.issues, issues.incomplete_variants(self.product_id, self.received_variants, counted)),
        )


def to_record(decoded: DecodedNode) -> Record:
    """Return the record of a decoded node."""
    if decoded.node is None:
        return Record(product_id=decoded.product_id, issues=decoded.issues, is_suspect=decoded.has_error)
    parsed = parse_product(decoded.node)
    product = parsed.product
    if product is not None and decoded.dropped_variants:
        product = msgspec.structs.replace(product, variants_complete=False)
    return Record(
        product_id=decoded.product_id,
        product=product,
        issues=decoded.issues + parsed.issues,
        received_variants=parsed.received_variants + decoded.dropped_variants,
        variants_count=decoded.node.variants_count,
        has_more_variants=decoded.node.variants.page_info.has_next_page,
        has_more_images=decoded.node.media.page_info.has_next_page,
        is_suspect=decoded.has_error,
    )


def unreadable_record(product_id: str) -> Record:
    """Return the record of a product that Shopify fails to deliver."""
    return Record(product_id=product_id, issues=(issues.unreadable(product_id),))


class ParsedProduct(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The result of parsing a product node."""

    product: Product | None
    """None: rejected, see `issues`."""
    issues: tuple[RecordIssue, ...] = ()
    received_variants: int = 0
    """Distinct variants of the node, usable or not."""


def parse_product(node: TypedProduct) -> ParsedProduct:
    """Parse a product node. Never raises: invalid parts are dropped with an issue.

    The options of the product, and the titles and options of its variants, are empty where Shopify generated them
    ("Default Title"). When a variant is dropped, `variants_complete` is False.
    """
    product_id = numeric_id(node.id, "Product")
    if not product_id:
        return ParsedProduct(product=None, issues=(issues.missing_id(node.id),))
    images = {medium.id: _parse_image(medium) for medium in node.media.nodes}
    image_issues = tuple(_image_issues(product_id, node.media.nodes))
    parser = VariantParser(product_id=product_id, is_sellable=node.status in SELLABLE_STATUSES, images=images)
    variants, received = _parse_variants(node.variants.nodes, parser)
    complete = len(variants) == received
    try:
        product = _build_product(node, product_id, images, variants, complete)
    except OverflowError:
        return ParsedProduct(product=None, issues=(issues.invalid_time(product_id),))
    return ParsedProduct(product=product, issues=(*image_issues, *parser.issues), received_variants=received)


def _build_product(
    node: TypedProduct,
    product_id: str,
    images: dict[str, Image | None],
    variants: tuple[Variant, ...],
    complete: bool,
) -> Product:
    return Product(
        id=product_id,
        title=node.title,
        handle=node.handle,
        description_html=node.description_html,
        vendor=node.vendor,
        product_type=node.product_type,
        tags=node.tags,
        status=node.status,
        url=node.online_store_url or "",
        options=() if node.options == _NO_OPTIONS else node.options,
        images=tuple(image for image in images.values() if image is not None),
        created_at=to_utc(node.created_at),
        updated_at=to_utc(node.updated_at),
        variants=variants,
        variants_complete=complete,
    )


def _parse_variants(nodes: list[VariantNode], parser: VariantParser) -> tuple[tuple[Variant, ...], int]:
    """Return the usable variants, and the number of distinct ones."""
    parsed: dict[str, Variant] = {}
    received = len(nodes)
    for node in nodes:
        variant = parser.parse(node)
        if variant is None:
            continue
        if variant.id in parsed:
            received -= 1
            parser.issues.append(issues.duplicate(parser.product_id, variant.id))
            continue
        parsed[variant.id] = variant
    return tuple(parsed.values()), received


def _image_issues(product_id: str, nodes: list[MediaNode]) -> Iterator[RecordIssue]:
    for node in nodes:
        if node.image is not None and not _is_absolute(node.image.url):
            yield issues.invalid_image(product_id, node.image.url)
        elif node.image is None and numeric_id(node.id, "MediaImage"):
            yield issues.image_not_ready(product_id, node.id)


def _is_absolute(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _parse_image(node: MediaNode) -> Image | None:
    if node.image is None or not _is_absolute(node.image.url):
        return None
    return Image(
        url=node.image.url,
        id=numeric_id(node.id, "MediaImage"),
        alt_text=node.alt or "",
        width=node.image.width or 0,
        height=node.image.height or 0,
    )


@dataclass(kw_only=True, slots=True)
class VariantParser:
    """Parses the variants of one product and collects their issues."""

    product_id: str
    is_sellable: bool
    """Whether the status of the product allows selling it."""
    images: Mapping[str, Image | None]
    """The product's images by gid; None: not processed yet."""
    issues: list[RecordIssue] = field(default_factory=list)

    def parse(self, node: VariantNode) -> Variant | None:
        """Return the variant; None, with an issue, when it has no usable id, price or time."""
        variant_id = numeric_id(node.id, "ProductVariant")
        if not variant_id:
            self.issues.append(issues.missing_id(node.id, self.product_id))
            return None
        if not self._has_valid_prices(node, variant_id):
            return None
        try:
            return self._build_variant(node, variant_id)
        except OverflowError:
            self.issues.append(issues.invalid_time(self.product_id, variant_id))
            return None

    def _build_variant(self, node: VariantNode, variant_id: str) -> Variant:
        item = node.inventory_item
        is_default = node.title == DEFAULT_TITLE
        weight, unit = self._parse_weight(item, variant_id)
        return Variant(
            id=variant_id,
            title="" if is_default else node.title,
            sku=node.sku or "",
            barcode=node.barcode or "",
            price=node.price,
            compare_at_price=node.compare_at_price,
            stock_quantity=node.inventory_quantity if item is None or item.tracked else None,
            inventory_policy=node.inventory_policy,
            available=self.is_sellable and node.available_for_sale,
            options=() if is_default else node.selected_options,
            image=self._find_image(node.media),
            weight=weight,
            weight_unit=unit,
            position=node.position,
            created_at=to_utc(node.created_at),
            updated_at=to_utc(node.updated_at),
        )

    def _has_valid_prices(self, node: VariantNode, variant_id: str) -> bool:
        if not is_amount(node.price):
            self.issues.append(issues.invalid_price(self.product_id, variant_id, "price", node.price))
            return False
        compare_at = node.compare_at_price
        if compare_at is not None and not is_amount(compare_at):
            self.issues.append(issues.invalid_price(self.product_id, variant_id, "compareAtPrice", compare_at))
            return False
        return True

    def _find_image(self, media: Connection[IdNode]) -> Image | None:
        return self.images.get(media.nodes[0].id) if media.nodes else None

    def _parse_weight(self, item: InventoryItemNode | None, variant_id: str) -> tuple[Decimal | None, str]:
        if item is None or item.measurement is None or item.measurement.weight is None:
            return None, ""
        weight = item.measurement.weight
        unit = _WEIGHT_UNITS.get(weight.unit)
        if unit is not None and is_amount(weight.value):
            return weight.value, unit
        self.issues.append(issues.invalid_weight(self.product_id, variant_id, weight.value, weight.unit))
        return None, ""


def to_utc(time: datetime) -> datetime:
    """Return the same moment in UTC. Raises OverflowError when it is outside the range of dates."""
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def is_amount(value: Decimal) -> bool:
    """Return whether a number is at least zero and not absurdly long when written out."""
    return value.is_finite() and value >= _ZERO and -13 < value.adjusted() < 16
