"""Turns a product's node into a product."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from connector_svc.domain.product import Image, Product, ProductOption, ProductStatus, Variant
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.shopify import issues
from connector_svc.platforms.shopify.ids import number_of
from connector_svc.platforms.shopify.parse_variant import DEFAULT_TITLE, VariantParser, utc
from connector_svc.platforms.shopify.wire import MediaNode, TypedProduct, VariantNode

SOLD = frozenset({ProductStatus.ACTIVE, ProductStatus.UNLISTED})
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
    product_id = number_of(node.id, "Product")
    if not product_id:
        return Parsed(product=None, issues=(issues.without_id(node.id),))
    images = {medium.id: _image(medium) for medium in node.media.nodes}
    broken = tuple(_image_issues(product_id, node.media.nodes))
    parser = VariantParser(product_id=product_id, is_sold=node.status in SOLD, images=images)
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
        elif node.image is None and number_of(node.id, "MediaImage"):
            yield issues.image_not_ready(product_id, node.id)


def _is_absolute(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _image(node: MediaNode) -> Image | None:
    if node.image is None or not _is_absolute(node.image.url):
        return None
    return Image(
        url=node.image.url,
        id=number_of(node.id, "MediaImage"),
        alt_text=node.alt or "",
        width=node.image.width or 0,
        height=node.image.height or 0,
    )
