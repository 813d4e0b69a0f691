"""Which products and variations a list holds, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Kind, Product, Row, Variant
from devstore.catalog.sample_data import mix
from devstore.catalog.sellable_item import amount
from devstore.woocommerce.list_query import ListQuery

_UNSTABLE_VERSIONS = {"8.2"}
_TRASH = "trash"
ORPHAN_ID = 999_999_999
"""Of the variation whose product is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One page of ids, and how many there are in all."""

    ids: Sequence[int]
    total: int


def products(catalog: Catalog, asked: ListQuery) -> Rows:
    """Products; with sku= variations too, as the platform does."""
    unstable = asked.orderby in ("date", "modified") and catalog.spec.version in _UNSTABLE_VERSIONS
    # Rows of one second come in another order on every page, as from a database that sorts by date alone.
    shuffle = mix(asked.per_page, asked.offset) if unstable else None

    def build() -> list[int]:
        if asked.skus:
            return sorted(_with_sku(catalog, asked), reverse=asked.descending)
        found = [row for row in catalog.rows() if _listed(catalog, row, asked)]
        return [row.id for row in _sorted(catalog, found, asked, shuffle)]

    ids = catalog.view(("products", asked.filters, shuffle), build)
    return _slice(ids, asked)


def variations(catalog: Catalog, asked: ListQuery, *, stale: bool = False) -> Rows:
    """Variations of the products named by `parent`, or of all products. Equal dates are ordered by id.

    `stale`: those of products that are simple now come too, and ORPHAN_ID unless parents are named.
    """

    def ordered() -> list[int]:
        rows = catalog.rows() if not asked.parent else _parents(catalog, asked.parent)
        kept = (row for row in rows if stale or row.kind is Kind.VARIABLE)
        found = [i for row in kept for i in _variation_ids(catalog, row, asked)]
        if asked.orderby == "include":
            places = {i: place for place, i in enumerate(asked.include)}
            return sorted(found, key=lambda i: places.get(i, len(places)))
        if asked.orderby == "id":
            return sorted(found, reverse=asked.descending)
        return sorted(found, key=_variation_order(catalog, asked), reverse=asked.descending)

    def build() -> list[int]:
        ids = ordered()
        if stale and not asked.parent:
            # The youngest, whatever they are ordered by.
            ids.insert(0 if asked.descending else len(ids), ORPHAN_ID)
        return ids

    return _slice(catalog.view(("variations", asked.filters, stale), build), asked)


def _slice(ids: list[int], asked: ListQuery) -> Rows:
    return Rows(ids=ids[asked.offset : asked.offset + asked.per_page], total=len(ids))


def _parents(catalog: Catalog, parents: Sequence[int]) -> list[Row]:
    return [Row.of(product) for i in parents if (product := catalog.product(i))]


def _shown_status(status: str, wanted: str) -> bool:
    return status != _TRASH if wanted == "any" else status == wanted


def _listed(catalog: Catalog, row: Row, asked: ListQuery) -> bool:
    if not _shown_status(row.status, asked.status) or (asked.kind and row.kind.value != asked.kind):
        return False
    if (asked.include and row.id not in asked.include) or row.id in asked.exclude or asked.parent:
        return False
    if not _within(row.updated, row.created, asked):
        return False
    if asked.search:
        product = catalog.product(row.id)
        return product is not None and asked.search.lower() in product.title.lower()
    return True


def _within(updated: int, created: int, asked: ListQuery) -> bool:
    pairs = (
        (asked.modified_after, updated),
        (updated, asked.modified_before),
        (asked.created_after, created),
        (created, asked.created_before),
    )
    return all(low < high for low, high in pairs if low is not None and high is not None)


def _with_sku(catalog: Catalog, asked: ListQuery) -> Iterator[int]:
    for product in catalog.products():
        if product.status == _TRASH:
            continue
        sold: tuple[Product | Variant, ...] = (product, *product.variants)
        yield from (one.id for one in sold if one.sku and one.sku in asked.skus)


def _variation_ids(catalog: Catalog, row: Row, asked: ListQuery) -> list[int]:
    # A trashed product takes its variations with it into the bin.
    if (row.status == _TRASH) is not (asked.status == _TRASH):
        return []
    ids = [i for i in row.variant_ids if i not in asked.exclude and (not asked.include or i in asked.include)]
    dated = (asked.modified_after, asked.modified_before, asked.created_after, asked.created_before)
    if asked.status in ("any", _TRASH) and not asked.skus and dated == (None,) * 4:
        return ids
    product = catalog.product(row.id)
    return [v.id for v in (product.variants if product else ()) if v.id in ids and _passes(v, asked)]


def _passes(variant: Variant, asked: ListQuery) -> bool:
    if asked.status not in ("any", _TRASH, variant.status) or (asked.skus and variant.sku not in asked.skus):
        return False
    return _within(int(variant.updated.timestamp()), int(variant.created.timestamp()), asked)


def _sorted(catalog: Catalog, rows: list[Row], asked: ListQuery, shuffle: int | None) -> list[Row]:
    if asked.orderby == "include" and asked.include:
        places = {i: place for place, i in enumerate(asked.include)}
        return sorted(rows, key=lambda row: places[row.id])
    value = _product_order(catalog, asked.orderby)
    if shuffle is None:
        return sorted(rows, key=lambda row: (value(row), row.id), reverse=asked.descending)
    return sorted(rows, key=lambda row: (value(row), mix(shuffle, row.id)), reverse=asked.descending)


def _product_order(catalog: Catalog, orderby: str) -> Callable[[Row], object]:
    def of_product(read: Callable[[Product], object]) -> Callable[[Row], object]:
        return lambda row: read(product) if (product := catalog.product(row.id)) else None

    orders: dict[str, Callable[[Row], object]] = {
        "date": lambda row: row.created,
        "modified": lambda row: row.updated,
        "title": of_product(lambda product: product.title.lower()),
        "slug": of_product(lambda product: product.handle),
        "price": of_product(lambda product: amount(product.price) or 0),
    }
    return orders.get(orderby, lambda row: 0)


def _variation_order(catalog: Catalog, asked: ListQuery) -> Callable[[int], tuple[object, int]]:
    def order(variant_id: int) -> tuple[object, int]:
        found = catalog.variant(variant_id)
        if found is None or asked.orderby == "menu_order":
            return 0, variant_id
        values: dict[str, object] = {
            "date": found[1].created,
            "modified": found[1].updated,
            "title": found[0].title,
            "slug": found[0].handle,
        }
        return values[asked.orderby], variant_id

    return order
