"""Fields of Product, ProductOption and MediaImage.

Fields of ProductVariant and InventoryItem; the source of both is the pair (product, variant)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Any

from devstore.catalog.model import Image, Product, Variant
from devstore.shopify.context import MAX_PAGE_SIZE, MAX_PAGE_SIZE_OF_ONE_PRODUCT, Info, RequestContext, refused
from devstore.shopify.listing import count
from devstore.shopify.pagination import Connection, page
from devstore.shopify.scalars import format_datetime, gid

IMAGE_SIDE = 64


def variants(product: Product, info: Info, **args: Any) -> Connection:
    """A product's variants, by position unless by id; 2,048 a page only where one product is the sole root."""
    if args.get("sortKey") not in (None, "POSITION", "ID"):
        raise refused(f"devstore does not sort variants by {args['sortKey']}")
    call: RequestContext = info.context
    by_id = args.get("sortKey") == "ID"
    held = product.variants
    keys = [(v.id if by_id else position, v.id) for position, v in enumerate(held, 1)]
    found = {v.id: v for v in held}
    largest = MAX_PAGE_SIZE_OF_ONE_PRODUCT if call.single_product else MAX_PAGE_SIZE
    return page(sorted(keys), lambda key: (product, found[key[1]]), args, largest=largest)


def media(product: Product, info: Info, **args: Any) -> Connection:
    """A product's images by position; any search but media_type:IMAGE finds none."""
    wanted = (args.get("query") or "media_type:IMAGE").upper()
    images = product.images if wanted == "MEDIA_TYPE:IMAGE" else ()
    return images_page(images, args)


def images_page(images: tuple[Image, ...], args: dict[str, Any]) -> Connection:
    """Images as a connection."""
    keys = [(position, image.id) for position, image in enumerate(images, 1)]
    return page(keys, lambda key: images[int(key[0]) - 1], args)


def options(product: Product, info: Info, **args: Any) -> list[dict[str, Any]]:
    """The options with their values, the first so many if asked."""
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
    call: RequestContext = info.context
    shown = call.catalog.as_generated(product.id) if call.quirks.totals_lag else product
    return sum(variant.stock or 0 for variant in (shown or product).variants)


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", text)).strip()


def image_object(image: Image, info: Info) -> dict[str, Any]:
    """An `Image`, with its absolute address."""
    call: RequestContext = info.context
    return {
        "id": gid("ImageSource", image.id),
        "url": call.image_url(image.id),
        "altText": image.alt,
        "width": IMAGE_SIDE,
        "height": IMAGE_SIDE,
    }


def _preview(image: Image, info: Info) -> dict[str, Any]:
    return {"image": image_object(image, info), "status": "READY"}


def _range(prices: list[str], currency: str) -> dict[str, Any]:
    amounts = sorted(prices, key=float)
    ends = (amounts[0], amounts[-1]) if amounts else ("0.0", "0.0")
    return {
        name: {"amount": amount, "currencyCode": currency}
        for name, amount in zip(("minVariantPrice", "maxVariantPrice"), ends, strict=True)
    }


def _price_range(product: Product, info: Info) -> dict[str, Any]:
    prices = [variant.price for variant in product.variants if variant.price]
    return _range(prices, info.context.catalog.spec.currency_code)


def _out_of_stock(variant: Variant) -> bool:
    return variant.stock is not None and variant.stock <= 0


PRODUCT: Mapping[str, Callable[..., Any]] = {
    "id": lambda p, info: gid("Product", p.id),
    "legacyResourceId": lambda p, info: str(p.id),
    "title": lambda p, info: p.title,
    "handle": lambda p, info: p.handle,
    "description": lambda p, info, truncateAt=None: _plain(p.description)[:truncateAt],
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


Sold = tuple[Product, Variant]


def _own_image(sold: Sold) -> tuple[Image, ...]:
    product, variant = sold
    return tuple(image for image in product.images if image.id == variant.image_id)


def _media(sold: Sold, info: Info, **args: Any) -> Connection:
    return images_page(_own_image(sold), args)


def _image(sold: Sold, info: Info, **_: Any) -> dict[str, Any] | None:
    own = _own_image(sold)
    return image_object(own[0], info) if own else None


def _selected(sold: Sold, info: Info) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in sold[1].options]


def _display_name(sold: Sold, info: Info) -> str:
    return f"{sold[0].title} - {sold[1].title}"


def _position(sold: Sold, info: Info) -> int:
    # Whole variants are compared field by field, six hundred times for a large product.
    return [variant.id for variant in sold[0].variants].index(sold[1].id) + 1


def _available(sold: Sold, info: Info) -> bool:
    return sold[1].oversell or sold[1].stock is None or sold[1].stock > 0


def _measurement(sold: Sold, info: Info) -> dict[str, Any]:
    variant = sold[1]
    # The schema says Float; nothing is calculated with it.
    weight = {"value": float(variant.weight or 0), "unit": variant.weight_unit}
    return {"id": gid("InventoryItemMeasurement", variant.id), "weight": weight}


def _inventory_item(sold: Sold, info: Info) -> Sold:
    call: RequestContext = info.context
    has_products = {"read_products", "write_products"} & set(call.quirks.scopes)
    if call.quirks.inventory_has_own_scope or not has_products:
        call.require("inventory", "inventoryItem")
    return sold


VARIANT: Mapping[str, Callable[..., Any]] = {
    "id": lambda sold, info: gid("ProductVariant", sold[1].id),
    "legacyResourceId": lambda sold, info: str(sold[1].id),
    "product": lambda sold, info: sold[0],
    "title": lambda sold, info: sold[1].title,
    "displayName": _display_name,
    "position": _position,
    "sku": lambda sold, info: sold[1].sku or None,
    "barcode": lambda sold, info: sold[1].barcode or None,
    "price": lambda sold, info: sold[1].price or "0.00",
    "compareAtPrice": lambda sold, info: sold[1].compare_at or None,
    "inventoryQuantity": lambda sold, info: sold[1].stock or 0,
    "sellableOnlineQuantity": lambda sold, info: sold[1].stock or 0,
    "inventoryPolicy": lambda sold, info: "CONTINUE" if sold[1].oversell else "DENY",
    "availableForSale": _available,
    "taxable": lambda sold, info: True,
    "selectedOptions": _selected,
    "inventoryItem": _inventory_item,
    "media": _media,
    "image": _image,
    "createdAt": lambda sold, info: format_datetime(sold[1].created),
    "updatedAt": lambda sold, info: format_datetime(sold[1].updated),
}

INVENTORY_ITEM: Mapping[str, Callable[..., Any]] = {
    "id": lambda sold, info: gid("InventoryItem", sold[1].id),
    "legacyResourceId": lambda sold, info: str(sold[1].id),
    "sku": lambda sold, info: sold[1].sku or None,
    "tracked": lambda sold, info: sold[1].stock is not None,
    "requiresShipping": lambda sold, info: True,
    "measurement": _measurement,
    "unitCost": lambda sold, info: None,
    "createdAt": lambda sold, info: format_datetime(sold[1].created),
    "updatedAt": lambda sold, info: format_datetime(sold[1].updated),
}
