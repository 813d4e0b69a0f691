"""The root lists: products, variants and events, searched, sorted and paged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from devstore.catalog.catalog import Catalog, Deletion
from devstore.catalog.model import Product, ProductRow, Variant
from devstore.shopify.context import RequestContext, client_error
from devstore.shopify.pagination import Connection, Key, page
from devstore.shopify.scalars import format_datetime, gid, parse_epoch_seconds
from devstore.shopify.search import Predicate, SearchField, search_predicate, search_predicate_of

_DATE_SORT_KEYS = {"UPDATED_AT", "CREATED_AT"}


def products(context: RequestContext, args: dict[str, Any]) -> Connection:
    """Return a page of products, by default sorted by id."""
    sort = args.get("sortKey") or "ID"
    keys = product_keys(context, args.get("query"), sort)
    context.check_cursor(args)
    found = page(keys, lambda key: context.catalog.product(key[1]), args, is_time=sort in _DATE_SORT_KEYS)
    if not context.quirks.lost_rows:
        return found
    return replace(
        found, keys=[key for key in found.keys if context.quirks.random.random() >= context.quirks.lost_rows]
    )


def product_keys(context: RequestContext, query: str | None, sort: str = "ID") -> list[Key]:
    """Return the keys of all products that a search finds, ascending; cached until the catalog changes."""
    catalog = context.catalog
    predicate = search_predicate(context, query, "products")
    value = _sort_value(catalog, sort)
    unindexed = frozenset(context.quirks.unindexed) if predicate else frozenset()

    def build() -> list[Key]:
        found = (row for row in catalog.rows() if predicate is None or predicate((row, None, catalog)))
        return sorted((value(row), row.id) for row in found if row.id not in unindexed)

    return catalog.cached_view(("products", query, sort, unindexed), build)


def variants(context: RequestContext, args: dict[str, Any]) -> Connection:
    """Return a page of all variants of the shop, sorted by id."""
    if args.get("sortKey") not in (None, "ID", "RELEVANCE"):
        raise client_error(f"devstore does not sort productVariants by {args['sortKey']}")
    context.check_cursor(args)
    return page(variant_keys(context, args.get("query")), lambda key: _variant(context.catalog, key), args)


def variant_keys(context: RequestContext, query: str | None) -> list[Key]:
    """Return the keys of all variants that a search finds, ascending by id."""
    catalog = context.catalog
    predicate = search_predicate(context, query, "productVariants")

    def build() -> list[Key]:
        if predicate is None:
            return sorted((i, i) for row in catalog.rows() for i in row.variant_ids)
        return sorted((v.id, v.id) for row in catalog.rows() for v in _matching_variants(catalog, row, predicate))

    return catalog.cached_view(("variants", query), build)


def _matching_variants(catalog: Catalog, row: ProductRow, predicate: Predicate) -> list[Variant]:
    product = catalog.product(row.id)
    return [v for v in product.variants if predicate((row, v, catalog))] if product else []


def _variant(catalog: Catalog, key: Key) -> tuple[Product, Variant] | None:
    return catalog.variant(key[1])


def _sort_value(catalog: Catalog, sort: str) -> Callable[[ProductRow], int | str]:
    texts: dict[str, Callable[[Product], str]] = {
        "TITLE": lambda product: product.title,
        "VENDOR": lambda product: product.vendor,
        "PRODUCT_TYPE": lambda product: product.product_type,
    }

    def text(row: ProductRow) -> str:
        product = catalog.product(row.id)
        return texts[sort](product) if product else ""

    if sort in ("ID", "RELEVANCE"):
        return lambda row: row.id
    if sort == "UPDATED_AT":
        return lambda row: row.updated
    if sort == "CREATED_AT":
        return lambda row: row.created
    if sort in texts:
        return text
    raise client_error(f"devstore does not sort products by {sort}")


def count(total: int, args: dict[str, Any]) -> dict[str, Any]:
    """Return a Count: exact up to the limit (default 10,000; null: no limit), beyond it the limit as AT_LEAST."""
    limit = args.get("limit", 10_000)
    if limit is None or total <= limit:
        return {"count": total, "precision": "EXACT"}
    return {"count": limit, "precision": "AT_LEAST"}


_EVENT_FIELDS: Mapping[str, SearchField] = {
    "action": SearchField(read=lambda _: "destroy", parse=str.lower),
    "subject_type": SearchField(read=lambda _: "product", parse=str.lower),
    "created_at": SearchField(read=lambda found: int(found[1].at.timestamp()), parse=parse_epoch_seconds),
    "id": SearchField(read=lambda found: found[0], parse=lambda text: int(text) if text.isdecimal() else None),
}


def events(context: RequestContext, args: dict[str, Any]) -> Connection:
    """Return a page of the event log, which has only deletions of products; its orders by id and by time agree."""
    if args.get("sortKey") not in (None, "ID", "CREATED_AT"):
        raise client_error(f"devstore does not sort events by {args['sortKey']}")
    context.check_cursor(args)
    predicate = search_predicate_of(context, args.get("query"), "events", _EVENT_FIELDS)
    log = dict(enumerate(context.catalog.deletions, 1))
    keys = [(number, number) for number, one in log.items() if predicate is None or predicate((number, one))]
    return page(keys, lambda key: _event_json(key[1], log[key[1]]), args)


def _event_json(number: int, deletion: Deletion) -> dict[str, Any]:
    return {
        "__typename": "BasicEvent",
        "id": gid("BasicEvent", number),
        "action": "destroy",
        "subjectType": "PRODUCT",
        "subjectId": gid("Product", deletion.product_id),
        "createdAt": format_datetime(deletion.at),
        "message": f"Somebody deleted a product: {deletion.title}.",
    }
