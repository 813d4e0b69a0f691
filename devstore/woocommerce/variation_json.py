"""A variation, as its own list shows it and as /products/<id> shows it."""

from __future__ import annotations

from urllib.parse import urlencode

from devstore.catalog.catalog import Catalog
from devstore.catalog.item import shown_stock
from devstore.catalog.model import Product, Variant
from devstore.woocommerce import parts
from devstore.woocommerce.parts import Json
from devstore.woocommerce.product_json import product_json


def variation_json(
    product: Product, variant: Variant, site: str, *, edit: bool = False, space: str = "wc/v3", under: int = 0
) -> Json:
    """Every field a list of 8.2 has; no name, type or parent_id. `under` is the parent id in the URL asked."""
    base = f"{site}/wp-json/{space}/products/{under}"
    return {
        "id": variant.id,
        **parts.dates(variant),
        "description": "",
        "permalink": _permalink(product, variant, site),
        "sku": variant.sku or product.sku,
        **parts.prices(variant),
        "status": variant.status,
        "purchasable": bool(variant.price),
        **parts.files(),
        "tax_status": "taxable",
        "tax_class": "",
        **_stock(product, variant),
        **parts.backorders(variant),
        **parts.measures(variant),
        "shipping_class": "",
        "shipping_class_id": 0,
        "image": _image(product, variant, site, inherit=not edit),
        "attributes": _attributes(variant),
        "menu_order": 0,
        "meta_data": [],
        "_links": parts.link(
            ("self", f"{base}/variations/{variant.id}"), ("collection", f"{base}/variations"), ("up", base)
        ),
    }


def with_parent(shown: Json, product: Product) -> Json:
    """What /wc/v3/variations of 10.3 adds."""
    links = shown.pop("_links")
    return {**shown, "parent_id": product.id, "_links": links}


def with_name(shown: Json, product: Product, variant: Variant) -> Json:
    """What wc-analytics adds."""
    links = shown.pop("_links")
    named = {"name": _name(product, variant), "type": "variation", "parent_id": product.id}
    return {**shown, **named, "_links": links}


def variation_as_product(catalog: Catalog, product: Product, variant: Variant, site: str) -> Json:
    """What /products/<variation id> answers: all fields of a product, filled from the variation."""
    own = variation_json(product, variant, site)
    picture = own.pop("image")
    shown = product_json(catalog, product, site)
    shown.update({name: value for name, value in own.items() if name in shown})
    self_url = f"{site}/wp-json/wc/v3/products"
    shown |= {
        "name": _name(product, variant),
        "slug": f"{product.handle}-{variant.id}",
        "type": "variation",
        "parent_id": product.id,
        "images": [picture] if picture else [],
        "total_sales": "0",
        "reviews_allowed": False,
        **{name: [] for name in ("categories", "tags", "variations", "related_ids", "default_attributes")},
        "price_html": parts.price_html(variant.price),
        "has_options": False,
        "_links": parts.link(
            ("self", f"{self_url}/{variant.id}"), ("collection", self_url), ("up", f"{self_url}/{product.id}")
        ),
    }
    return shown


def _name(product: Product, variant: Variant) -> str:
    return f"{product.title} - {', '.join(value for _, value in variant.options) or variant.title}"


def _permalink(product: Product, variant: Variant, site: str) -> str:
    chosen = urlencode({f"attribute_{name.lower()}": value for name, value in variant.options})
    return parts.permalink(product, site) + (f"?{chosen}" if chosen else "")


def _stock(product: Product, variant: Variant) -> Json:
    stock = shown_stock(product, variant)
    return {
        "manage_stock": "parent" if variant.shares_stock else stock is not None,
        "stock_quantity": stock,
        "stock_status": parts.stock_status(stock, oversell=variant.oversell),
    }


def _image(product: Product, variant: Variant, site: str, *, inherit: bool) -> Json | None:
    own = [picture for picture in product.images if picture.id == variant.image_id]
    shown = own or (list(product.images) if inherit else [])
    return parts.image(shown[0], product, site) if shown else None


def _attributes(variant: Variant) -> list[Json]:
    return [{"id": 0, "name": name, "option": value} for name, value in variant.options]
