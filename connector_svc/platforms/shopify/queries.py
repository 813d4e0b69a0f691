"""What we ask of the Admin API, version 2026-10; a test checks every text against the genuine schema.

What it costs decides how it is asked. A connection costs 2 + m(first) * (1 + children) with
m(n) = max(1, floor(2 ln n)), and no query may cost more than 1,000:

- A variant names only the id of its image (3 points); the URL comes from the product's media list. Asking the
  image itself of each variant (4 points) would make the page 1,080.
- The product's media list ends at 50 on a page. A product with more is read once more alone, where 250 cost
  almost nothing.
- The largest page is the cheapest per product, so `first` shrinks only when the platform cannot serve it.


Search strings. Times are quoted: Shopify cuts an unquoted one at its first colon and reads it in the shop's
zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector_svc.platforms.shopify.query_cost import requested_cost

API_VERSION = "2026-10"
PATH = f"/admin/api/{API_VERSION}/graphql.json"

FILE_HOSTS = frozenset({"storage.googleapis.com"})
"""Where Shopify puts the results of bulk operations."""

PAGE_PRODUCTS = 250
PAGE_VARIANTS = 250
PAGE_MEDIA = 50
SINGLE_VARIANTS = 2048
SINGLE_MEDIA = 250

Variables = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One query text."""

    name: str
    text: str
    idempotent: bool = True
    """Whether it may be sent again when nobody knows whether it arrived."""

    def estimated_cost(self, first: int) -> int:
        """The points it will ask for with a page of `first`; what the platform reports replaces it."""
        return requested_cost(self.text, {"first": first})


_VARIANT = """\
fragment VariantFields on ProductVariant {
  id title sku barcode price compareAtPrice inventoryQuantity inventoryPolicy availableForSale position
  createdAt updatedAt
  selectedOptions { name value }
  media(first: 1) { nodes { id } }%s
}"""

_INVENTORY = """
  inventoryItem { tracked measurement { weight { value unit } } }"""

_PRODUCT = """\
fragment ProductFields on Product {
  id title handle descriptionHtml vendor productType tags status onlineStoreUrl createdAt updatedAt
  options { name values }
  variantsCount { count precision }
  media(first: %d, sortKey: POSITION, query: "media_type:IMAGE") {
    nodes { id alt ... on MediaImage { image { url width height } } }
    pageInfo { hasNextPage }
  }
}"""

_PAGE = """\
query ProductPage($first: Int!, $after: String, $query: String) {
  products(first: $first, after: $after, query: $query, sortKey: ID) {
    nodes { ...ProductFields variants(first: %d) { nodes { ...VariantFields } pageInfo { hasNextPage } } }
    pageInfo { hasNextPage endCursor }
  }
}"""

_HYDRATE = """\
query ProductsById($ids: [ID!]!) {
  nodes(ids: $ids) {
    ... on Product {
      ...ProductFields
      variants(first: %d) { nodes { ...VariantFields } pageInfo { hasNextPage } }
    }
  }
}"""

_SINGLE = """\
query SingleProduct($id: ID!, $first: Int!, $after: String) {
  product(id: $id) {
    ...ProductFields
    variants(first: $first, after: $after) { nodes { ...VariantFields } pageInfo { hasNextPage endCursor } }
  }
}"""

PASS_START = Query(
    name="PassStart",
    text="""\
query PassStart($query: String) {
  shop { id name myshopifyDomain currencyCode }
  currentAppInstallation { accessScopes { handle } }
  productsCount(limit: null, query: $query) { count precision }
  productVariantsCount(limit: null) { count precision }
}""",
)

INVENTORY_PROBE = Query(
    name="InventoryProbe",
    text="""\
query InventoryProbe { productVariants(first: 1) { nodes { inventoryItem { tracked } } } }""",
)

PRODUCT_COUNT = Query(
    name="ProductCount",
    text="""\
query ProductCount($query: String) {
  shop { currencyCode }
  productsCount(limit: null, query: $query) { count precision }
}""",
)

PRODUCT_IDS = Query(
    name="ProductIds",
    text="""\
query ProductIds($first: Int!, $after: String, $query: String) {
  products(first: $first, after: $after, query: $query, sortKey: ID) {
    nodes { id }
    pageInfo { hasNextPage endCursor }
  }
}""",
)


PRODUCT_DELETIONS = Query(
    name="ProductDeletions",
    text="""\
query ProductDeletions($first: Int!, $after: String, $query: String) {
  events(first: $first, after: $after, query: $query, sortKey: ID) {
    nodes { id ... on BasicEvent { action subjectType subjectId createdAt } }
    pageInfo { hasNextPage endCursor }
  }
}""",
)

EXISTING_PRODUCTS = Query(
    name="ExistingProducts",
    text="""\
query ExistingProducts($ids: [ID!]!) { nodes(ids: $ids) { id } }""",
)


_VARIANT_STOCK = """\
query VariantStock($first: Int!, $after: String, $query: String) {
  productVariants(first: $first, after: $after, query: $query, sortKey: ID) {
    nodes { id sku price compareAtPrice inventoryQuantity availableForSale product { id status }%s }
    pageInfo { hasNextPage endCursor }
  }
}"""


def variant_stock(*, inventory: bool) -> Query:
    """A page of variants with what they are sold as; `inventory`: whether their stock is tracked."""
    return Query(name="VariantStock", text=_VARIANT_STOCK % (" inventoryItem { tracked }" if inventory else ""))


def product_page(*, inventory: bool) -> Query:
    """A page of products with their first 250 variants; `inventory`: with their inventory items."""
    return Query(
        name="ProductPage",
        text="\n".join((_PAGE % PAGE_VARIANTS, _PRODUCT % PAGE_MEDIA, _variant(inventory))),
    )


def products_by_id(*, inventory: bool) -> Query:
    """Up to 250 products of known ids with their first 250 variants and all their images.

    Not multiplied by the number of ids, as far as replies with a few ids tell: whoever asks watches the reported
    cost.
    """
    return Query(
        name="ProductsById",
        text="\n".join((_HYDRATE % PAGE_VARIANTS, _PRODUCT % SINGLE_MEDIA, _variant(inventory))),
    )


def single_product(*, inventory: bool) -> Query:
    """One product with up to 2,048 variants per call and all its images."""
    return Query(
        name="SingleProduct",
        text="\n".join((_SINGLE, _PRODUCT % SINGLE_MEDIA, _variant(inventory))),
    )


def _variant(inventory: bool) -> str:
    return _VARIANT % (_INVENTORY if inventory else "")


def updated_between(after: datetime, until: datetime | None = None) -> str:
    """Products changed at or after `after` and, if given, not after `until`."""
    lower = f"updated_at:>='{_time(after)}'"
    return lower if until is None else f"{lower} AND updated_at:<='{_time(until)}'"


def created_until(until: datetime) -> str:
    """Products that were there at `until`."""
    return f"created_at:<='{_time(until)}'"


def deleted_between(after: datetime, until: datetime) -> str:
    """Events of products that were deleted at or after `after` and not after `until`."""
    window = f"created_at:>='{_time(after)}' AND created_at:<='{_time(until)}'"
    return f"subject_type:PRODUCT AND action:destroy AND {window}"


def behind(number: int, search: str | None) -> str | None:
    """What `search` finds, behind the id `number`; None: everything."""
    if number <= 0:
        return search
    return f"id:>{number}" + (f" AND {search}" if search else "")


def between(product_id: int, last_id: int) -> str:
    """Products behind `product_id` up to `last_id`."""
    upper = f"id:<={last_id}"
    return f"id:>{product_id} AND {upper}" if product_id > 0 else upper


def _time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
