"""The JSON of products and variations: in wc/v3, in wc-analytics, and a variation requested as a product."""

from __future__ import annotations

from urllib.parse import urlencode

from devstore.catalog.catalog import Catalog
from devstore.catalog.ids import VARIANTS_PER_PRODUCT
from devstore.catalog.model import Kind, Product, Variant
from devstore.catalog.sellable_item import shown_stock
from devstore.woocommerce import json_fields
from devstore.woocommerce.json_fields import Json

_UNCATEGORIZED = {"id": 15, "name": "Uncategorized", "slug": "uncategorized"}


def product_json(catalog: Catalog, product: Product, site: str) -> Json:
    """Return all fields of a product in wc/v3, in the platform's order."""
    price = catalog.lowest_price(product)
    simple = product.kind is Kind.SIMPLE
    # The variations of a product that is no longer variable stay in the database; the product does not name them.
    sells_variations = product.kind is Kind.VARIABLE and product.status != "trash"
    stock = product.stock if product.kind in (Kind.SIMPLE, Kind.VARIABLE) else None
    return {
        "id": product.id,
        "name": product.title,
        "slug": product.handle + ("__trashed" if product.status == "trash" else ""),
        "permalink": json_fields.permalink(product, site),
        **json_fields.date_fields(product),
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
        **json_fields.download_fields(),
        "external_url": f"https://example.com/p/{product.id}" if product.kind is Kind.EXTERNAL else "",
        "button_text": "Buy there" if product.kind is Kind.EXTERNAL else "",
        "tax_status": "taxable",
        "tax_class": "",
        "manage_stock": stock is not None,
        "stock_quantity": stock,
        **json_fields.backorder_fields(product),
        "sold_individually": False,
        **json_fields.weight_and_dimensions(product),
        **_shipping(),
        "parent_id": 0,
        "purchase_note": "",
        **_terms(product),
        "images": [json_fields.image_json(image, product, site) for image in product.images],
        "attributes": _attributes(product),
        "default_attributes": [],
        "variations": [variant.id for variant in product.variants] if sells_variations else [],
        "grouped_products": list(product.linked),
        "menu_order": 0,
        "price_html": json_fields.price_html(price),
        "related_ids": [product.id + VARIANTS_PER_PRODUCT],
        "meta_data": [],
        "stock_status": _stock_status(product),
        "has_options": product.kind is Kind.VARIABLE,
        "post_password": "",
        "_links": json_fields.links(
            ("self", f"{site}/wp-json/wc/v3/products/{product.id}"),
            ("collection", f"{site}/wp-json/wc/v3/products"),
        ),
    }


def _prices(product: Product, price: str) -> Json:
    fields = json_fields.price_fields(product)
    if product.kind in (Kind.VARIABLE, Kind.GROUPED):
        fields |= {"price": price, "regular_price": "", "sale_price": ""}
    return fields


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
        # WordPress numbers terms; an id computed from the name is the same for all products.
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
        return json_fields.stock_status(product.stock, oversell=product.oversell)
    statuses = {json_fields.stock_status(v.stock, oversell=v.oversell) for v in product.variants}
    return "instock" if "instock" in statuses else "outofstock"


def variation_json(
    product: Product,
    variant: Variant,
    site: str,
    *,
    edit: bool = False,
    namespace: str = "wc/v3",
    url_parent_id: int = 0,
) -> Json:
    """Return all fields that a list of 8.2 has; it has no name, type or parent_id.

    Args:
        product: The parent product.
        variant: The variation.
        site: The base URL of the shop.
        edit: Whether the request has context=edit, which shows no inherited image.
        namespace: The namespace of the links.
        url_parent_id: The parent id in the requested URL; 0 in lists of all variations.
    """
    base = f"{site}/wp-json/{namespace}/products/{url_parent_id}"
    return {
        "id": variant.id,
        **json_fields.date_fields(variant),
        "description": "",
        "permalink": _permalink(product, variant, site),
        "sku": variant.sku or product.sku,
        **json_fields.price_fields(variant),
        "status": variant.status,
        "purchasable": bool(variant.price),
        **json_fields.download_fields(),
        "tax_status": "taxable",
        "tax_class": "",
        **_stock(product, variant),
        **json_fields.backorder_fields(variant),
        **json_fields.weight_and_dimensions(variant),
        "shipping_class": "",
        "shipping_class_id": 0,
        "image": _image(product, variant, site, inherit=not edit),
        "attributes": _chosen_attributes(variant),
        "menu_order": 0,
        "meta_data": [],
        "_links": json_fields.links(
            ("self", f"{base}/variations/{variant.id}"), ("collection", f"{base}/variations"), ("up", base)
        ),
    }


def with_parent_id(fields: Json, product: Product) -> Json:
    """Add the field that /wc/v3/variations of 10.3 has in addition."""
    links = fields.pop("_links")
    return {**fields, "parent_id": product.id, "_links": links}


def with_name_and_parent_id(fields: Json, product: Product, variant: Variant) -> Json:
    """Add the fields that wc-analytics has in addition."""
    links = fields.pop("_links")
    named = {"name": _name(product, variant), "type": "variation", "parent_id": product.id}
    return {**fields, **named, "_links": links}


def variation_as_product(catalog: Catalog, product: Product, variant: Variant, site: str) -> Json:
    """Return /products/<variation id>: all fields of a product, with the values of the variation."""
    own = variation_json(product, variant, site)
    image = own.pop("image")
    fields = product_json(catalog, product, site)
    fields.update({name: value for name, value in own.items() if name in fields})
    self_url = f"{site}/wp-json/wc/v3/products"
    fields |= {
        "name": _name(product, variant),
        "slug": f"{product.handle}-{variant.id}",
        "type": "variation",
        "parent_id": product.id,
        "images": [image] if image else [],
        "total_sales": "0",
        "reviews_allowed": False,
        **{name: [] for name in ("categories", "tags", "variations", "related_ids", "default_attributes")},
        "price_html": json_fields.price_html(variant.price),
        "has_options": False,
        "_links": json_fields.links(
            ("self", f"{self_url}/{variant.id}"), ("collection", self_url), ("up", f"{self_url}/{product.id}")
        ),
    }
    return fields


def _name(product: Product, variant: Variant) -> str:
    return f"{product.title} - {', '.join(value for _, value in variant.options) or variant.title}"


def _permalink(product: Product, variant: Variant, site: str) -> str:
    chosen = urlencode({f"attribute_{name.lower()}": value for name, value in variant.options})
    return json_fields.permalink(product, site) + (f"?{chosen}" if chosen else "")


def _stock(product: Product, variant: Variant) -> Json:
    stock = shown_stock(product, variant)
    return {
        "manage_stock": "parent" if variant.shares_stock else stock is not None,
        "stock_quantity": stock,
        "stock_status": json_fields.stock_status(stock, oversell=variant.oversell),
    }


def _image(product: Product, variant: Variant, site: str, *, inherit: bool) -> Json | None:
    own = [image for image in product.images if image.id == variant.image_id]
    fields = own or (list(product.images) if inherit else [])
    return json_fields.image_json(fields[0], product, site) if fields else None


def _chosen_attributes(variant: Variant) -> list[Json]:
    return [{"id": 0, "name": name, "option": value} for name, value in variant.options]
