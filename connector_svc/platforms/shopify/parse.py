"""Turns a product's node into a product.

Turns a variant's node into a variant.

A product on its way from a reply to a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from connector_svc.domain.issue import RecordIssue
from connector_svc.domain.product import Image, Product, ProductOption, ProductStatus, Variant
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
"""What Shopify calls the variant, and the option value, of a product that has no options."""

SELLABLE_STATUSES = frozenset({ProductStatus.ACTIVE, ProductStatus.UNLISTED})
"""Drafts and archived products cannot be bought, whatever their stock, of which alone Shopify's flag speaks. Which
sales channels show a product is not looked at: a shop may sell through any of them."""
_NO_OPTIONS = (ProductOption(name="Title", values=(DEFAULT_TITLE,)),)


class Parsed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of a node."""

    product: Product | None
    """None: set aside, see `issues`."""
    issues: tuple[RecordIssue, ...] = ()
    received: int = 0
    """Different variants that came, usable or not."""


def parse_product(node: TypedProduct) -> Parsed:
    """The product of `node`. Never raises: what cannot stand is dropped with an issue.

    Its options, and the titles and options of its variants, are empty where Shopify made them up ("Default
    Title"). When a variant is dropped, variants_complete is False.
    """
    product_id = numeric_id(node.id, "Product")
    if not product_id:
        return Parsed(product=None, issues=(issues.without_id(node.id),))
    images = {medium.id: _image(medium) for medium in node.media.nodes}
    broken = tuple(_image_issues(product_id, node.media.nodes))
    parser = VariantParser(product_id=product_id, is_sold=node.status in SELLABLE_STATUSES, images=images)
    variants, received = _variants(node.variants.nodes, parser)
    complete = len(variants) == received
    try:
        product = _product(node, product_id, images, variants, complete)
    except OverflowError:
        return Parsed(product=None, issues=(issues.bad_time(product_id),))
    return Parsed(
        product=product,
        issues=(*broken, *parser.issues),
        received=received,
    )


def _product(
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
        created_at=utc(node.created_at),
        updated_at=utc(node.updated_at),
        variants=variants,
        variants_complete=complete,
    )


def _variants(nodes: list[VariantNode], parser: VariantParser) -> tuple[tuple[Variant, ...], int]:
    found: dict[str, Variant] = {}
    received = len(nodes)
    for node in nodes:
        variant = parser.parse(node)
        if variant is None:
            continue
        if variant.id in found:
            received -= 1
            parser.issues.append(issues.duplicate(parser.product_id, variant.id))
            continue
        found[variant.id] = variant
    return tuple(found.values()), received


def _image_issues(product_id: str, nodes: list[MediaNode]) -> Iterator[RecordIssue]:
    for node in nodes:
        if node.image is not None and not _is_absolute(node.image.url):
            yield issues.bad_image(product_id, node.image.url)
        elif node.image is None and numeric_id(node.id, "MediaImage"):
            yield issues.image_not_ready(product_id, node.id)


def _is_absolute(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _image(node: MediaNode) -> Image | None:
    if node.image is None or not _is_absolute(node.image.url):
        return None
    return Image(
        url=node.image.url,
        id=numeric_id(node.id, "MediaImage"),
        alt_text=node.alt or "",
        width=node.image.width or 0,
        height=node.image.height or 0,
    )


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
        variant_id = numeric_id(node.id, "ProductVariant")
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


def to_record(found: DecodedNode) -> Record:
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
