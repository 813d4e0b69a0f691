"""The queries and search filters that we send to the Admin API, version 2026-10.

A test checks every query against Shopify's published schema. The cost of a query decides its shape: a connection
costs 2 + m(first) * (1 + children) points with m(n) = max(1, floor(2 ln n)), and no query may cost more than 1,000
points:

- A variant selects only the id of its image (3 points); the URL comes from the product's media list. Selecting the
  image itself for each variant (4 points) would raise the cost of a page to 1,080.
- A page asks for the first 50 media of each product. A product with more is read again alone, where 250 cost
  almost nothing.
- The largest page is the cheapest per product, so `first` shrinks only when Shopify cannot serve it.

Times in search filters are quoted: Shopify cuts an unquoted time at its first colon and reads it in the shop's
time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from connector_svc.platforms.shopify.query_cost import requested_cost

API_VERSION = "2026-10"
PATH = f"/admin/api/{API_VERSION}/graphql.json"

FILE_HOSTS = frozenset({"storage.googleapis.com"})
"""The hosts from which Shopify serves the results of bulk operations."""

PAGE_PRODUCTS = 250
PAGE_VARIANTS = 250
PAGE_MEDIA = 50
SINGLE_VARIANTS = 2048
SINGLE_MEDIA = 250

Variables = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A GraphQL document with one operation."""

    name: str
    text: str
    idempotent: bool = True
    """Whether it may be sent again when it is not known whether it arrived."""

    def estimated_cost(self, first: int) -> int:
        """Estimate the requested points at a page size of `first`; the cost that Shopify reports replaces it."""
        return requested_cost(self.text, {"first": first})


# The fields of products and variants, for queries by page and bulk jobs alike.
PRODUCT_FIELDS: Final = """\
id title handle descriptionHtml vendor productType tags status onlineStoreUrl createdAt updatedAt
  options { name values }"""
VARIANT_FIELDS: Final = """\
id title sku barcode price compareAtPrice inventoryQuantity inventoryPolicy availableForSale position
  createdAt updatedAt
  selectedOptions { name value }"""
INVENTORY_FIELDS: Final = "inventoryItem { tracked measurement { weight { value unit } } }"
MEDIA_FIELDS: Final = "id alt ... on MediaImage { image { url width height } }"

_VARIANT = f"""\
fragment VariantFields on ProductVariant {{
  {VARIANT_FIELDS}
  media(first: 1) {{ nodes {{ id }} }}%s
}}"""

_INVENTORY = f"""
  {INVENTORY_FIELDS}"""

_PRODUCT = f"""\
fragment ProductFields on Product {{
  {PRODUCT_FIELDS}
  variantsCount {{ count precision }}
  media(first: %d, sortKey: POSITION, query: "media_type:IMAGE") {{
    nodes {{ {MEDIA_FIELDS} }}
    pageInfo {{ hasNextPage }}
  }}
}}"""

_PAGE = """\
query ProductPage($first: Int!, $after: String, $query: String) {
  products(first: $first, after: $after, query: $query, sortKey: ID) {
    nodes { ...ProductFields variants(first: %d) { nodes { ...VariantFields } pageInfo { hasNextPage } } }
    pageInfo { hasNextPage endCursor }
  }
}"""

_PRODUCTS_BY_ID = """\
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
    """Return the query for a page of variants with SKU, prices and stock.

    `inventory`: also ask whether the stock is tracked.
    """
    return Query(name="VariantStock", text=_VARIANT_STOCK % (" inventoryItem { tracked }" if inventory else ""))


def product_page(*, inventory: bool) -> Query:
    """Return the query for a page of products with their first 250 variants.

    `inventory`: include the inventory items of the variants.
    """
    return Query(
        name="ProductPage",
        text="\n".join((_PAGE % PAGE_VARIANTS, _PRODUCT % PAGE_MEDIA, _variant(inventory))),
    )


def products_by_id(*, inventory: bool) -> Query:
    """Return the query for up to 250 products by id, with their first 250 variants and all images (250 at most).

    Shopify does not multiply its cost by the number of ids, as far as replies with a few ids show; the caller must
    watch the reported cost.
    """
    return Query(
        name="ProductsById",
        text="\n".join((_PRODUCTS_BY_ID % PAGE_VARIANTS, _PRODUCT % SINGLE_MEDIA, _variant(inventory))),
    )


def single_product(*, inventory: bool) -> Query:
    """Return the query for one product with up to 2,048 variants per call and all its images (250 at most)."""
    return Query(
        name="SingleProduct",
        text="\n".join((_SINGLE, _PRODUCT % SINGLE_MEDIA, _variant(inventory))),
    )


def _variant(inventory: bool) -> str:
    return _VARIANT % (_INVENTORY if inventory else "")


def updated_between(after: datetime, until: datetime | None = None) -> str:
    """Return the filter for products updated at or after `after` and, if given, not after `until`."""
    lower = f"updated_at:>='{_format_time(after)}'"
    return lower if until is None else f"{lower} AND updated_at:<='{_format_time(until)}'"


def created_until(until: datetime) -> str:
    """Return the filter for products that existed at `until`."""
    return f"created_at:<='{_format_time(until)}'"


def deleted_between(after: datetime, until: datetime) -> str:
    """Return the filter for events of products deleted at or after `after` and not after `until`."""
    window = f"created_at:>='{_format_time(after)}' AND created_at:<='{_format_time(until)}'"
    return f"subject_type:PRODUCT AND action:destroy AND {window}"


def ids_after(last_id: int, search: str | None) -> str | None:
    """Return the filter for what `search` finds after the id `last_id`; None: everything."""
    if last_id <= 0:
        return search
    return f"id:>{last_id}" + (f" AND {search}" if search else "")


def ids_between(after_id: int, last_id: int) -> str:
    """Return the filter for ids after `after_id` up to and including `last_id`."""
    upper = f"id:<={last_id}"
    return f"id:>{after_id} AND {upper}" if after_id > 0 else upper


def _format_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
