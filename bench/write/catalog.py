"""The catalog that every writer stores: the devstore's products as database rows, and later generations of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

from bench.common.store import shop_spec
from bench.common.store_server import SEED
from catalog_svc.domain.records import ItemRecord, ProductRecord
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Image, Product, Variant
from devstore.options import parse_shop
from devstore.spec import ShopSpec

_CURRENCY: Final = "EUR"
_UPDATED_LATER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FullProduct:
    """One product with its items, decoded."""

    record: ProductRecord
    items: list[ItemRecord]


Batch: TypeAlias = Sequence[FullProduct]


def generate(items: int) -> list[FullProduct]:
    """Return about `items` items, 1 to 12 per product, in the order of their ids; always the same ones."""
    # Products with unusual data are for tests; they would be noise here.
    spec = replace(parse_shop(shop_spec("shopify", items), seed=SEED), edge_cases=False)
    return [_full_product(spec, product) for product in Catalog(spec).products()]


def first_products(products: Sequence[FullProduct], items: int) -> list[FullProduct]:
    """Return the first products, until they have that many items."""
    taken: list[FullProduct] = []
    for product in products:
        if item_count(taken) >= items:
            break
        taken.append(product)
    return taken


def revise(products: Sequence[FullProduct], numbers: Iterable[int]) -> list[FullProduct]:
    """Return the next generation: every item of the products with these numbers has another price and stock."""
    chosen = frozenset(numbers)
    return [_revise(product) if number in chosen else product for number, product in enumerate(products)]


def batches(products: Sequence[FullProduct], items: int) -> Iterator[Batch]:
    """Yield batches as the sync engine builds them: whole products, until a batch has that many items."""
    batch: list[FullProduct] = []
    batch_count = 0
    for product in products:
        batch.append(product)
        batch_count += len(product.items)
        if batch_count >= items:
            yield batch
            batch, batch_count = [], 0
    if batch:
        yield batch


def item_count(products: Sequence[FullProduct]) -> int:
    """Return the number of items of all products."""
    return sum(len(product.items) for product in products)


def _full_product(spec: ShopSpec, product: Product) -> FullProduct:
    images = {image.id: _image(spec, image) for image in product.images}
    fallback = str(next(iter(images.values()))["url"]) if images else ""
    items = []
    for position, variant in enumerate(product.variants, start=1):
        image = images.get(variant.image_id) if variant.image_id is not None else None
        items.append(_item(variant, position, str(image["url"]) if image else fallback))
    record = ProductRecord(
        product_id=str(product.id),
        content_hash=b"",
        title=product.title,
        handle=product.handle,
        description_html=product.description,
        vendor=product.vendor,
        product_type=product.product_type,
        tags=list(product.tags),
        status=product.status,
        url=f"https://{spec.domain}/products/{product.handle}",
        options=_json(product.options),
        images=_json(list(images.values())),
        source_created_at=product.created,
        source_updated_at=product.updated,
        item_count=len(items),
    )
    return _with_hash(record, items)


def _item(variant: Variant, position: int, image_url: str) -> ItemRecord:
    return ItemRecord(
        item_id=str(variant.id),
        product_id=str(variant.product_id),
        position=position,
        title=variant.title,
        sku=variant.sku,
        barcode=variant.barcode,
        currency_code=_CURRENCY,
        price=variant.price or None,
        compare_at_price=variant.compare_at or None,
        stock_quantity=variant.stock,
        available=variant.stock != 0,
        sellable_without_stock=variant.oversell,
        options=_json(variant.options),
        image_url=image_url,
        image_version="",
        weight=variant.weight or None,
        weight_unit="kg" if variant.weight else "",
        source_created_at=variant.created,
        source_updated_at=variant.updated,
    )


def _image(spec: ShopSpec, image: Image) -> dict[str, object]:
    url = f"https://{spec.domain}/cdn/files/{image.id}.png"
    return {"id": str(image.id), "url": url, "alt_text": image.alt, "width": 64, "height": 64}


def _revise(product: FullProduct) -> FullProduct:
    changed = product.record.source_updated_at
    record = product.record._replace(source_updated_at=changed + _UPDATED_LATER if changed else None)
    return _with_hash(record, [_raise_price(item) for item in product.items])


def _raise_price(item: ItemRecord) -> ItemRecord:
    return item._replace(
        price=str(Decimal(item.price or "0") + 1),
        stock_quantity=(item.stock_quantity or 0) + 1,
        available=True,
        source_updated_at=item.source_updated_at + _UPDATED_LATER if item.source_updated_at else None,
    )


def _with_hash(record: ProductRecord, items: list[ItemRecord]) -> FullProduct:
    content = repr((record._replace(content_hash=b""), items)).encode()
    return FullProduct(record._replace(content_hash=hashlib.blake2b(content, digest_size=16).digest()), items)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
