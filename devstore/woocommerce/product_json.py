"""A product as wc/v3 shows it."""

from __future__ import annotations

from devstore.catalog.catalog import Catalog
from devstore.catalog.ids import VARIANTS_PER_PRODUCT
from devstore.catalog.model import Kind, Product
from devstore.woocommerce import parts
from devstore.woocommerce.parts import Json

_UNCATEGORIZED = {"id": 15, "name": "Uncategorized", "slug": "uncategorized"}


def product_json(catalog: Catalog, product: Product, site: str) -> Json:
    """Every field, in the platform's order."""
    price = catalog.lowest_price(product)
    simple = product.kind is Kind.SIMPLE
    # What is left of the time when a simple product was variable stays in its table, and is not named here.
    sells_variations = product.kind is Kind.VARIABLE and product.status != "trash"
    stock = product.stock if product.kind in (Kind.SIMPLE, Kind.VARIABLE) else None
    return {
        "id": product.id,
        "name": product.title,
        "slug": product.handle + ("__trashed" if product.status == "trash" else ""),
        "permalink": parts.permalink(product, site),
        **parts.dates(product),
        "type": product.kind.value,
        "status": product.status,
        "featured": False,
        "catalog_visibility": "visible",
        "description": product.description,
        "short_description": "",
        "sku": product.sku,
        **_prices(product, price),
        "purchasable": bool(price) and (simple or product.kind is Kind.VARIABLE),
        "total_sales": 0,
        **parts.files(),
        "external_url": f"https://example.com/p/{product.id}" if product.kind is Kind.EXTERNAL else "",
        "button_text": "Buy there" if product.kind is Kind.EXTERNAL else "",
        "tax_status": "taxable",
        "tax_class": "",
        "manage_stock": stock is not None,
        "stock_quantity": stock,
        **parts.backorders(product),
        "sold_individually": False,
        **parts.measures(product),
        **_shipping(),
        "parent_id": 0,
        "purchase_note": "",
        **_terms(product),
        "images": [parts.image(picture, product, site) for picture in product.images],
        "attributes": _attributes(product),
        "default_attributes": [],
        "variations": [variant.id for variant in product.variants] if sells_variations else [],
        "grouped_products": list(product.linked),
        "menu_order": 0,
        "price_html": parts.price_html(price),
        "related_ids": [product.id + VARIANTS_PER_PRODUCT],
        "meta_data": [],
        "stock_status": _stock_status(product),
        "has_options": product.kind is Kind.VARIABLE,
        "post_password": "",
        "_links": parts.link(
            ("self", f"{site}/wp-json/wc/v3/products/{product.id}"),
            ("collection", f"{site}/wp-json/wc/v3/products"),
        ),
    }


def _prices(product: Product, price: str) -> Json:
    shown = parts.prices(product)
    if product.kind in (Kind.VARIABLE, Kind.GROUPED):
        shown |= {"price": price, "regular_price": "", "sale_price": ""}
    return shown


def _shipping() -> Json:
    return {
        "shipping_required": True,
        "shipping_taxable": True,
        "shipping_class": "",
        "shipping_class_id": 0,
        "reviews_allowed": True,
        "average_rating": "0.00",
        "rating_count": 0,
        "upsell_ids": [],
        "cross_sell_ids": [],
    }


def _terms(product: Product) -> Json:
    category = _UNCATEGORIZED
    if product.product_type:
        slug = product.product_type.lower()
        # WordPress numbers terms; a number made from the name stays the same for all products.
        category = {"id": 100 + sum(slug.encode()), "name": product.product_type, "slug": slug}
    tags = [{"id": 5000 + sum(tag.encode()), "name": tag, "slug": tag} for tag in product.tags]
    return {"categories": [category], "tags": tags}


def _attributes(product: Product) -> list[Json]:
    return [
        {
            "id": 0,
            "name": name,
            "position": position,
            "visible": True,
            "variation": True,
            "options": list(values),
        }
        for position, (name, values) in enumerate(product.options)
    ]


def _stock_status(product: Product) -> str:
    if product.kind is not Kind.VARIABLE:
        return parts.stock_status(product.stock, oversell=product.oversell)
    statuses = {parts.stock_status(v.stock, oversell=v.oversell) for v in product.variants}
    return "instock" if "instock" in statuses else "outofstock"
