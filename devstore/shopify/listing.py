"""The root lists: products and variants, searched, sorted and paged.

The shop's event log, as far as it tells of deleted products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from devstore.catalog.catalog import Catalog, Deletion
from devstore.catalog.model import Product, ProductRow, Variant
from devstore.shopify.context import RequestContext, refused
from devstore.shopify.pagination import Connection, Key, page
from devstore.shopify.scalars import format_datetime, gid, parse_epoch_seconds
from devstore.shopify.search import Field, Test, matcher, test_of

_TIMES = {"UPDATED_AT", "CREATED_AT"}


def products(call: RequestContext, args: dict[str, Any]) -> Connection:
    """A page of products; sorted by id unless asked otherwise."""
    sort = args.get("sortKey") or "ID"
    keys = product_keys(call, args.get("query"), sort)
    call.use_cursor(args)
    found = page(keys, lambda key: call.catalog.product(key[1]), args, is_time=sort in _TIMES)
    if not call.quirks.lost_rows:
        return found
    return replace(found, keys=[key for key in found.keys if call.quirks.dice.random() >= call.quirks.lost_rows])


def product_keys(call: RequestContext, query: str | None, sort: str = "ID") -> list[Key]:
    """The keys of all products a search finds, ascending; made once per search and state of the catalog."""
    catalog = call.catalog
    test = matcher(call, query, "products")
    value = _sort_value(catalog, sort)
    unindexed = frozenset(call.quirks.unindexed) if test else frozenset()

    def build() -> list[Key]:
        found = (row for row in catalog.rows() if test is None or test((row, None, catalog)))
        return sorted((value(row), row.id) for row in found if row.id not in unindexed)

    return catalog.cached_view(("products", query, sort, unindexed), build)


def variants(call: RequestContext, args: dict[str, Any]) -> Connection:
    """A page of all variants of the shop, by id."""
    if args.get("sortKey") not in (None, "ID", "RELEVANCE"):
        raise refused(f"devstore does not sort productVariants by {args['sortKey']}")
    call.use_cursor(args)
    return page(variant_keys(call, args.get("query")), lambda key: _variant(call.catalog, key), args)


def variant_keys(call: RequestContext, query: str | None) -> list[Key]:
    """The keys of all variants a search finds, ascending by id."""
    catalog = call.catalog
    test = matcher(call, query, "productVariants")

    def build() -> list[Key]:
        if test is None:
            return sorted((i, i) for row in catalog.rows() for i in row.variant_ids)
        return sorted((v.id, v.id) for row in catalog.rows() for v in _passing(catalog, row, test))

    return catalog.cached_view(("variants", query), build)


def _passing(catalog: Catalog, row: ProductRow, test: Test) -> list[Variant]:
    product = catalog.product(row.id)
    return [v for v in product.variants if test((row, v, catalog))] if product else []


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
    raise refused(f"devstore does not sort products by {sort}")


def count(total: int, args: dict[str, Any]) -> dict[str, Any]:
    """A Count: exact up to the limit (10,000 unless given; null lifts it), else "at least"."""
    limit = args.get("limit", 10_000)
    if limit is None or total <= limit:
        return {"count": total, "precision": "EXACT"}
    return {"count": limit, "precision": "AT_LEAST"}


_FIELDS: Mapping[str, Field] = {
    "action": Field(read=lambda _: "destroy", value=str.lower),
    "subject_type": Field(read=lambda _: "product", value=str.lower),
    "created_at": Field(read=lambda found: int(found[1].at.timestamp()), value=parse_epoch_seconds),
    "id": Field(read=lambda found: found[0], value=lambda text: int(text) if text.isdecimal() else None),
}


def events(call: RequestContext, args: dict[str, Any]) -> Connection:
    """A page of the log, by id unless by time."""
    if args.get("sortKey") not in (None, "ID", "CREATED_AT"):
        raise refused(f"devstore does not sort events by {args['sortKey']}")
    call.use_cursor(args)
    test = test_of(call, args.get("query"), "events", _FIELDS)
    log = dict(enumerate(call.catalog.deletions, 1))
    keys = [(number, number) for number, one in log.items() if test is None or test((number, one))]
    return page(keys, lambda key: _node(key[1], log[key[1]]), args)


def _node(number: int, deletion: Deletion) -> dict[str, Any]:
    return {
        "__typename": "BasicEvent",
        "id": gid("BasicEvent", number),
        "action": "destroy",
        "subjectType": "PRODUCT",
        "subjectId": gid("Product", deletion.product_id),
        "createdAt": format_datetime(deletion.at),
        "message": f"Somebody deleted a product: {deletion.title}.",
    }
