"""Resolvers of Product, ProductOption, MediaImage, ProductVariant and InventoryItem.

The source of a ProductVariant and an InventoryItem is the pair (product, variant).
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Any

from devstore.catalog.model import Image, Product, Variant
from devstore.catalog.pictures import SIDE_PIXELS
from devstore.shopify.context import (
    MAX_PAGE_SIZE,
    MAX_PAGE_SIZE_OF_ONE_PRODUCT,
    Info,
    RequestContext,
    client_error,
)
from devstore.shopify.listing import count
from devstore.shopify.pagination import Connection, page
from devstore.shopify.scalars import format_datetime, gid


def variants(product: Product, info: Info, **args: Any) -> Connection:
    """Return a page of variants by position or id; up to 2,048 where one product is the only root field."""
    if args.get("sortKey") not in (None, "POSITION", "ID"):
        raise client_error(f"devstore does not sort variants by {args['sortKey']}")
    context: RequestContext = info.context
    by_id = args.get("sortKey") == "ID"
    all_variants = product.variants
    keys = [(v.id if by_id else position, v.id) for position, v in enumerate(all_variants, 1)]
    found = {v.id: v for v in all_variants}
    max_size = MAX_PAGE_SIZE_OF_ONE_PRODUCT if context.single_product else MAX_PAGE_SIZE
    return page(sorted(keys), lambda key: (product, found[key[1]]), args, max_size=max_size)


def media(product: Product, info: Info, **args: Any) -> Connection:
    """Return a page of a product's images by position; any search but media_type:IMAGE finds none."""
    search = (args.get("query") or "media_type:IMAGE").upper()
    images = product.images if search == "MEDIA_TYPE:IMAGE" else ()
    return images_page(images, args)


def images_page(images: tuple[Image, ...], args: dict[str, Any]) -> Connection:
    """Return a page of images."""
    keys = [(position, image.id) for position, image in enumerate(images, 1)]
    return page(keys, lambda key: images[int(key[0]) - 1], args)


def options(product: Product, info: Info, **args: Any) -> list[dict[str, Any]]:
    """Return the options with their values, at most `first` of them."""
    return [
        {
            "id": gid("ProductOption", product.id + position),
            "name": name,
            "position": position,
            "values": list(values),
        }
        for position, (name, values) in enumerate(product.options[: args.get("first")], 1)
    ]


def _option_values(option: dict[str, Any], info: Info) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{option['id']}{number:03d}".replace("Option/", "OptionValue/"),
            "name": value,
            "hasVariants": True,
        }
        for number, value in enumerate(option["values"], 1)
    ]


def _total_inventory(product: Product, info: Info) -> int:
    context: RequestContext = info.context
    counted = context.catalog.as_generated(product.id) if context.quirks.totals_lag else product
    return sum(variant.stock or 0 for variant in (counted or product).variants)


def _strip_html(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", text)).strip()


def image_object(image: Image, info: Info) -> dict[str, Any]:
    """Return an Image with its absolute URL."""
    context: RequestContext = info.context
    return {
        "id": gid("ImageSource", image.id),
        "url": context.image_url(image),
        "altText": image.alt,
        "width": SIDE_PIXELS,
        "height": SIDE_PIXELS,
    }


def _preview(image: Image, info: Info) -> dict[str, Any]:
    return {"image": image_object(image, info), "status": "READY"}


def _price_range_of(prices: list[str], currency: str) -> dict[str, Any]:
    amounts = sorted(prices, key=float)
    ends = (amounts[0], amounts[-1]) if amounts else ("0.0", "0.0")
    return {
        name: {"amount": amount, "currencyCode": currency}
        for name, amount in zip(("minVariantPrice", "maxVariantPrice"), ends, strict=True)
    }


def _price_range(product: Product, info: Info) -> dict[str, Any]:
    prices = [variant.price for variant in product.variants if variant.price]
    return _price_range_of(prices, info.context.catalog.spec.currency_code)


def _out_of_stock(variant: Variant) -> bool:
    return variant.stock is not None and variant.stock <= 0


PRODUCT: Mapping[str, Callable[..., Any]] = {
    "id": lambda p, info: gid("Product", p.id),
    "legacyResourceId": lambda p, info: str(p.id),
    "title": lambda p, info: p.title,
    "handle": lambda p, info: p.handle,
    "description": lambda p, info, truncateAt=None: _strip_html(p.description)[:truncateAt],
    "descriptionHtml": lambda p, info: p.description,
    "vendor": lambda p, info: p.vendor,
    "productType": lambda p, info: p.product_type,
    "tags": lambda p, info: list(p.tags),
    "status": lambda p, info: p.status,
    "createdAt": lambda p, info: format_datetime(p.created),
    "updatedAt": lambda p, info: format_datetime(p.updated),
    "publishedAt": lambda p, info: format_datetime(p.created) if p.status == "ACTIVE" else None,
    "options": options,
    "variants": variants,
    "variantsCount": lambda p, info: count(len(p.variants), {}),
    "hasOnlyDefaultVariant": lambda p, info: [v.title for v in p.variants] == ["Default Title"],
    "hasOutOfStockVariants": lambda p, info: any(map(_out_of_stock, p.variants)),
    "totalInventory": _total_inventory,
    "tracksInventory": lambda p, info: any(v.stock is not None for v in p.variants),
    "priceRangeV2": _price_range,
    "category": lambda p, info: None,
    "isGiftCard": lambda p, info: False,
    "onlineStoreUrl": lambda p, info: None,
    "seo": lambda p, info: {"title": None, "description": None},
    "media": media,
    "mediaCount": lambda p, info: count(len(p.images), {}),
    "featuredMedia": lambda p, info: p.images[0] if p.images else None,
    "featuredImage": lambda p, info: image_object(p.images[0], info) if p.images else None,
}

OPTION: Mapping[str, Callable[..., Any]] = {"optionValues": _option_values}

MEDIA: Mapping[str, Callable[..., Any]] = {
    "id": lambda image, info: gid("MediaImage", image.id),
    "alt": lambda image, info: image.alt,
    "image": image_object,
    "preview": _preview,
    "mediaContentType": lambda image, info: "IMAGE",
    "mimeType": lambda image, info: "image/png",
    "status": lambda image, info: "READY",
    "fileStatus": lambda image, info: "READY",
}


ProductAndVariant = tuple[Product, Variant]


def _own_image(pair: ProductAndVariant) -> tuple[Image, ...]:
    product, variant = pair
    return tuple(image for image in product.images if image.id == variant.image_id)


def _media(pair: ProductAndVariant, info: Info, **args: Any) -> Connection:
    return images_page(_own_image(pair), args)


def _image(pair: ProductAndVariant, info: Info, **_: Any) -> dict[str, Any] | None:
    own = _own_image(pair)
    return image_object(own[0], info) if own else None


def _selected(pair: ProductAndVariant, info: Info) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in pair[1].options]


def _display_name(pair: ProductAndVariant, info: Info) -> str:
    return f"{pair[0].title} - {pair[1].title}"


def _position(pair: ProductAndVariant, info: Info) -> int:
    # Ids are compared, since comparing whole variants compares all their fields, 600 times for a large product.
    return [variant.id for variant in pair[0].variants].index(pair[1].id) + 1


def _available(pair: ProductAndVariant, info: Info) -> bool:
    return pair[1].oversell or pair[1].stock is None or pair[1].stock > 0


def _measurement(pair: ProductAndVariant, info: Info) -> dict[str, Any]:
    variant = pair[1]
    # The schema has Float here; nothing is calculated with it.
    weight = {"value": float(variant.weight or 0), "unit": variant.weight_unit}
    return {"id": gid("InventoryItemMeasurement", variant.id), "weight": weight}


def _inventory_item(pair: ProductAndVariant, info: Info) -> ProductAndVariant:
    context: RequestContext = info.context
    has_products = {"read_products", "write_products"} & set(context.quirks.scopes)
    if context.quirks.inventory_has_own_scope or not has_products:
        context.require_scope("inventory", "inventoryItem")
    return pair


VARIANT: Mapping[str, Callable[..., Any]] = {
    "id": lambda pair, info: gid("ProductVariant", pair[1].id),
    "legacyResourceId": lambda pair, info: str(pair[1].id),
    "product": lambda pair, info: pair[0],
    "title": lambda pair, info: pair[1].title,
    "displayName": _display_name,
    "position": _position,
    "sku": lambda pair, info: pair[1].sku or None,
    "barcode": lambda pair, info: pair[1].barcode or None,
    "price": lambda pair, info: pair[1].price or "0.00",
    "compareAtPrice": lambda pair, info: pair[1].compare_at or None,
    "inventoryQuantity": lambda pair, info: pair[1].stock or 0,
    "sellableOnlineQuantity": lambda pair, info: pair[1].stock or 0,
    "inventoryPolicy": lambda pair, info: "CONTINUE" if pair[1].oversell else "DENY",
    "availableForSale": _available,
    "taxable": lambda pair, info: True,
    "selectedOptions": _selected,
    "inventoryItem": _inventory_item,
    "media": _media,
    "image": _image,
    "createdAt": lambda pair, info: format_datetime(pair[1].created),
    "updatedAt": lambda pair, info: format_datetime(pair[1].updated),
}

INVENTORY_ITEM: Mapping[str, Callable[..., Any]] = {
    "id": lambda pair, info: gid("InventoryItem", pair[1].id),
    "legacyResourceId": lambda pair, info: str(pair[1].id),
    "sku": lambda pair, info: pair[1].sku or None,
    "tracked": lambda pair, info: pair[1].stock is not None,
    "requiresShipping": lambda pair, info: True,
    "measurement": _measurement,
    "unitCost": lambda pair, info: None,
    "createdAt": lambda pair, info: format_datetime(pair[1].created),
    "updatedAt": lambda pair, info: format_datetime(pair[1].updated),
}
