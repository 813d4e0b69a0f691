"""Lists of products and variations: filtered, sorted and paged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Kind, Product, ProductRow, Variant
from devstore.catalog.sample_data import splitmix64
from devstore.catalog.sellable_item import amount
from devstore.woocommerce.list_query import ListQuery

_VERSIONS_WITH_UNSTABLE_ORDER = {"8.2"}
_TRASH = "trash"
ORPHAN_ID = 999_999_999
"""The id of the variation whose product was deleted (WooQuirk.STALE_VARIATIONS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPage:
    """One page of ids, and the total number of ids in the list."""

    ids: Sequence[int]
    total: int


def products(catalog: Catalog, query: ListQuery) -> IdPage:
    """List products; with `sku` also variations, as the platform does."""
    unstable = query.orderby in ("date", "modified") and catalog.spec.version in _VERSIONS_WITH_UNSTABLE_ORDER
    # Rows of the same second are in another order on every page, as from a database that sorts by date alone.
    shuffle = splitmix64(query.per_page, query.offset) if unstable else None

    def build() -> list[int]:
        if query.skus:
            return sorted(_with_sku(catalog, query), reverse=query.descending)
        found = [row for row in catalog.rows() if _matches(catalog, row, query)]
        return [row.id for row in _sorted(catalog, found, query, shuffle)]

    ids = catalog.cached_view(("products", query.filters, shuffle), build)
    return _page(ids, query)


def variations(catalog: Catalog, query: ListQuery, *, stale: bool = False) -> IdPage:
    """List variations of the products in `parent`, or of all products. Equal dates are sorted by id.

    Args:
        catalog: The catalog.
        query: The requested page.
        stale: Include variations of products that are now simple, and ORPHAN_ID unless `parent` is given.
    """

    def ordered() -> list[int]:
        rows = catalog.rows() if not query.parent else _parents(catalog, query.parent)
        variable_rows = (row for row in rows if stale or row.kind is Kind.VARIABLE)
        found = [i for row in variable_rows for i in _variation_ids(catalog, row, query)]
        if query.orderby == "include":
            positions = {i: position for position, i in enumerate(query.include)}
            return sorted(found, key=lambda i: positions.get(i, len(positions)))
        if query.orderby == "id":
            return sorted(found, reverse=query.descending)
        return sorted(found, key=_variation_order(catalog, query), reverse=query.descending)

    def build() -> list[int]:
        ids = ordered()
        if stale and not query.parent:
            # It counts as the newest, whatever the list is sorted by.
            ids.insert(0 if query.descending else len(ids), ORPHAN_ID)
        return ids

    return _page(catalog.cached_view(("variations", query.filters, stale), build), query)


def _page(ids: list[int], query: ListQuery) -> IdPage:
    return IdPage(ids=ids[query.offset : query.offset + query.per_page], total=len(ids))


def _parents(catalog: Catalog, parents: Sequence[int]) -> list[ProductRow]:
    return [ProductRow.of(product) for i in parents if (product := catalog.product(i))]


def _has_status(status: str, requested: str) -> bool:
    return status != _TRASH if requested == "any" else status == requested


def _matches(catalog: Catalog, row: ProductRow, query: ListQuery) -> bool:
    if not _has_status(row.status, query.status) or (query.kind and row.kind.value != query.kind):
        return False
    if (query.include and row.id not in query.include) or row.id in query.exclude or query.parent:
        return False
    if not _within(row.updated, row.created, query):
        return False
    if query.search:
        product = catalog.product(row.id)
        return product is not None and query.search.lower() in product.title.lower()
    return True


def _within(updated: int, created: int, query: ListQuery) -> bool:
    pairs = (
        (query.modified_after, updated),
        (updated, query.modified_before),
        (query.created_after, created),
        (created, query.created_before),
    )
    return all(low < high for low, high in pairs if low is not None and high is not None)


def _with_sku(catalog: Catalog, query: ListQuery) -> Iterator[int]:
    for product in catalog.products():
        if product.status == _TRASH:
            continue
        candidates: tuple[Product | Variant, ...] = (product, *product.variants)
        yield from (one.id for one in candidates if one.sku and one.sku in query.skus)


def _variation_ids(catalog: Catalog, row: ProductRow, query: ListQuery) -> list[int]:
    # The variations of a trashed product are in the trash too.
    if (row.status == _TRASH) is not (query.status == _TRASH):
        return []
    ids = [i for i in row.variant_ids if i not in query.exclude and (not query.include or i in query.include)]
    dated = (query.modified_after, query.modified_before, query.created_after, query.created_before)
    if query.status in ("any", _TRASH) and not query.skus and dated == (None,) * 4:
        return ids
    product = catalog.product(row.id)
    return [v.id for v in (product.variants if product else ()) if v.id in ids and _variant_matches(v, query)]


def _variant_matches(variant: Variant, query: ListQuery) -> bool:
    if query.status not in ("any", _TRASH, variant.status) or (query.skus and variant.sku not in query.skus):
        return False
    return _within(int(variant.updated.timestamp()), int(variant.created.timestamp()), query)


def _sorted(catalog: Catalog, rows: list[ProductRow], query: ListQuery, shuffle: int | None) -> list[ProductRow]:
    if query.orderby == "include" and query.include:
        positions = {i: position for position, i in enumerate(query.include)}
        return sorted(rows, key=lambda row: positions[row.id])
    value = _product_order(catalog, query.orderby)
    if shuffle is None:
        return sorted(rows, key=lambda row: (value(row), row.id), reverse=query.descending)
    return sorted(rows, key=lambda row: (value(row), splitmix64(shuffle, row.id)), reverse=query.descending)


def _product_order(catalog: Catalog, orderby: str) -> Callable[[ProductRow], object]:
    def of_product(read: Callable[[Product], object]) -> Callable[[ProductRow], object]:
        return lambda row: read(product) if (product := catalog.product(row.id)) else None

    orders: dict[str, Callable[[ProductRow], object]] = {
        "date": lambda row: row.created,
        "modified": lambda row: row.updated,
        "title": of_product(lambda product: product.title.lower()),
        "slug": of_product(lambda product: product.handle),
        "price": of_product(lambda product: amount(product.price) or 0),
    }
    return orders.get(orderby, lambda row: 0)


def _variation_order(catalog: Catalog, query: ListQuery) -> Callable[[int], tuple[object, int]]:
    def order(variant_id: int) -> tuple[object, int]:
        found = catalog.variant(variant_id)
        if found is None or query.orderby == "menu_order":
            return 0, variant_id
        values: dict[str, object] = {
            "date": found[1].created,
            "modified": found[1].updated,
            "title": found[0].title,
            "slug": found[0].handle,
        }
        return values[query.orderby], variant_id

    return order
