"""The current catalog of one shop, in memory: changed by tests, read by the platform's API."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar, Unpack, cast

from devstore.catalog.change import Change, ChangeKind
from devstore.catalog.generator import Generator
from devstore.catalog.model import (
    Image,
    Kind,
    Platform,
    Product,
    ProductChanges,
    ProductRow,
    Variant,
    VariantChanges,
)
from devstore.catalog.sellable_item import SellableItem, items_of
from devstore.spec import ShopSpec

T = TypeVar("T")

_CACHED_PRODUCTS = 2_048
_CACHED_VIEWS = 32


def now() -> datetime:
    """Return the current time in UTC and whole seconds, as platforms store their dates."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """The log entry of a deleted product."""

    product_id: int
    title: str
    at: datetime


class Catalog:
    """The products of one shop, built when they are read: 100,000 variants need little memory until changed.

    A change sets `updated` as the platform does: a change of a variant sets it on the variant and its product (on
    BigCommerce not on the product), a change of a product on the product alone. With `touch=False` no date
    changes, as after a write by SQL.
    """

    def __init__(self, spec: ShopSpec, *, clock: Callable[[], datetime] = now) -> None:
        self.spec = spec
        self.revision = 0
        self.deletions: list[Deletion] = []
        """The deleted products, oldest first; Shopify shows them as events."""
        self.on_change: Callable[[Change], None] = lambda change: None
        """Called after each change that the platform notices, for its webhooks."""
        self._clock = clock
        self._generator = Generator.of(spec)
        self._rows = {row.id: row for row in map(self._generator.row, range(spec.products))}
        self._changed: dict[int, Product] = {}
        self._next_index = spec.products
        self._next_variant: dict[int, int] = {}
        self._stale_children: dict[int, tuple[int, ...]] = {}
        self._build = lru_cache(_CACHED_PRODUCTS)(self._generator.product)
        self._views: OrderedDict[Hashable, object] = OrderedDict()

    # -- reading

    @property
    def platform(self) -> Platform:
        return self.spec.platform

    def __len__(self) -> int:
        """The number of products, trashed ones included."""
        return len(self._rows)

    @property
    def listed_count(self) -> int:
        """The number of products that a full sync reads: all but the trashed ones."""
        return sum(row.status != "trash" for row in self._rows.values())

    @property
    def variant_count(self) -> int:
        return sum(len(row.variant_ids) for row in self._rows.values())

    @property
    def item_count(self) -> int:
        """The number of `sellable_items`, counted without building a product."""
        listed = [row for row in self._rows.values() if row.status != "trash"]
        return sum(len(row.variant_ids) if row.kind is Kind.VARIABLE else 1 for row in listed)

    def rows(self) -> Iterator[ProductRow]:
        """Iterate over the index in order of ids."""
        return iter(self._rows.values())

    def product(self, product_id: int) -> Product | None:
        if product_id not in self._rows:
            return None
        index = self._generator.ids.index_of_product(product_id)
        return self._changed.get(product_id) or self._build(cast("int", index))

    def variant(self, variant_id: int) -> tuple[Product, Variant] | None:
        """Return the variant together with its product."""
        product = self.product(self._generator.ids.product_of_variant(variant_id))
        found = (variant for variant in (product.variants if product else ()) if variant.id == variant_id)
        variant = next(found, None)
        return (product, variant) if product and variant else None

    def as_generated(self, product_id: int) -> Product | None:
        """Return the product before any change; None when it was added later."""
        index = cast("int", self._generator.ids.index_of_product(product_id))
        return self._build(index) if index < self.spec.products else None

    def product_of_image(self, image_id: int) -> Product | None:
        """Return the product that has the image."""
        product = self.product(self._generator.ids.product_of_image(image_id))
        has_it = product is not None and any(image.id == image_id for image in product.images)
        return product if has_it else None

    def products(self) -> Iterator[Product]:
        """Iterate over all products, trashed ones included, in order of ids."""
        return (product for row in list(self._rows) if (product := self.product(row)))

    def sellable_items(self) -> Iterator[SellableItem]:
        """Yield the items that a complete sync ends up with."""
        for product in self.products():
            # A grouped product is an item of its own, at the price of its cheapest linked product.
            grouped = product.kind is Kind.GROUPED
            yield from items_of(
                self.platform, replace(product, price=self.lowest_price(product)) if grouped else product
            )

    def lowest_price(self, product: Product) -> str:
        """Return the price that a product shows: its own, or the lowest of its variants or linked products.

        Returns:
            The price as text; "" when none is set.
        """
        if product.kind is Kind.GROUPED:
            linked = [found for i in product.linked if (found := self.product(i))]
            texts = [self.lowest_price(one) for one in linked if one.status == "publish"]
        elif product.kind is Kind.VARIABLE:
            texts = [variant.price for variant in product.variants if variant.status == "publish"]
        else:
            return product.price
        return min((text for text in texts if text), key=Decimal, default="")

    def edge_case(self, name: str) -> Product:
        """Return the edge-case product with this name.

        Raises:
            KeyError: The catalog has no edge case of this name, or the product was deleted.
        """
        for index, edge_case in ((2 * n + 1, case) for n, case in enumerate(self._generator.edge_cases)):
            product = self.product(self._generator.ids.product(index))
            if edge_case.name == name and product:
                return product
        raise KeyError(name)

    def cached_view(self, key: Hashable, build: Callable[[], T]) -> T:
        """Return `build()`, cached until the catalog changes, so that a page costs only its own rows.

        Args:
            key: Everything that `build` depends on besides the catalog.
            build: Builds the view, for example a sorted list of ids.
        """
        full_key = (self.revision, key)
        if full_key not in self._views:
            self._views[full_key] = build()
            while len(self._views) > _CACHED_VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(full_key)
        return cast("T", self._views[full_key])

    # -- changing

    def add_product(self, **fields: Unpack[ProductChanges]) -> Product:
        """Add a product with the highest id and without images. Except on WooCommerce it gets one variant."""
        index, when = self._next_index, self._clock()
        self._next_index += 1
        variants = self.platform.sells_variants_only
        product = Product(
            id=self._generator.ids.product(index),
            kind=Kind.VARIABLE if variants else Kind.SIMPLE,
            title=f"New product {index + 1}",
            handle=f"new-product-{index + 1}",
            status="ACTIVE" if variants else "publish",
            price="" if variants else "10.00",
            created=when,
            updated=when,
        )
        self._save(replace(product, **fields))
        if self.platform is Platform.SHOPIFY:
            default = (("Title", "Default Title"),)
            self._append_variant(product.id, title="Default Title", options=default, price="10.00", stock=0)
        elif variants:
            self._append_variant(product.id, title="", price="10.00", stock=0)
        self.on_change(Change(kind=ChangeKind.PRODUCT_CREATED, product_id=product.id))
        return self._require_product(product.id)

    def update_product(self, product_id: int, *, touch: bool = True, **changes: Unpack[ProductChanges]) -> Product:
        old = self._require_product(product_id)
        product = replace(old, **changes)
        if not touch:
            return self._save(product)
        saved = self._save(replace(product, updated=self._clock()))
        if product.status == "trash" != old.status:
            variant_ids = tuple(variant.id for variant in saved.variants)
            self.on_change(Change(kind=ChangeKind.PRODUCT_TRASHED, product_id=product_id, variant_ids=variant_ids))
        else:
            stock_changed = saved.stock != old.stock
            self.on_change(
                Change(kind=ChangeKind.PRODUCT_UPDATED, product_id=product_id, stock_changed=stock_changed)
            )
        return saved

    def replace_picture(self, image_id: int) -> Image:
        """Replace a picture by one in other colours.

        WooCommerce serves it at the same URL, and the product's date stays: a plugin has replaced the file in the
        media library. Elsewhere URL and date change; the URL of a feed stays, too.
        """
        product = self.product_of_image(image_id)
        if product is None:
            raise KeyError(image_id)
        (old,) = (image for image in product.images if image.id == image_id)
        # Two replacements within a second are still two pictures.
        new = replace(old, changed=max(self._clock(), old.changed + timedelta(seconds=1)))
        images = tuple(new if image is old else image for image in product.images)
        self.update_product(product.id, touch=self.platform is not Platform.WOOCOMMERCE, images=images)
        return new

    def trash_product(self, product_id: int) -> Product:
        """Move a WooCommerce product to the trash: only status=trash lists it, and its `updated` changes."""
        return self.update_product(product_id, status="trash")

    def delete_product(self, product_id: int) -> None:
        """Delete a product with its variants; it is added to `deletions`."""
        product = self._require_product(product_id)
        self.deletions.append(Deletion(product_id=product_id, title=product.title, at=self._clock()))
        del self._rows[product_id]
        self._changed.pop(product_id, None)
        self._invalidate_views()
        variant_ids = tuple(variant.id for variant in product.variants)
        self.on_change(Change(kind=ChangeKind.PRODUCT_DELETED, product_id=product_id, variant_ids=variant_ids))

    def add_variant(self, product_id: int, **fields: Unpack[VariantChanges]) -> Variant:
        """Append a variant to a product. Ids of deleted variants are not used again."""
        variant = self._append_variant(product_id, **fields)
        self._variant_changed(ChangeKind.VARIANT_CREATED, variant)
        return variant

    def _append_variant(self, product_id: int, **fields: Unpack[VariantChanges]) -> Variant:
        product, when = self._require_product(product_id), self._clock()
        variant_id = self._unused_variant_id(product)
        variant = Variant(
            id=variant_id,
            product_id=product_id,
            title=f"New {variant_id}",
            options=(),
            price="10.00",
            created=when,
            updated=when,
        )
        variant = replace(variant, **fields)
        self._save(replace(product, variants=(*product.variants, variant), updated=when))
        return variant

    def update_variant(self, variant_id: int, *, touch: bool = True, **changes: Unpack[VariantChanges]) -> Variant:
        product, variant = self._require_variant(variant_id)
        when = self._clock()
        changed = replace(variant, **changes)
        if touch and self.platform is Platform.BIGCOMMERCE:
            # BigCommerce's variants have no date, and the date of their product does not change.
            changed = replace(changed, updated=when)
        elif touch:
            changed, product = replace(changed, updated=when), replace(product, updated=when)
        variants = tuple(changed if old.id == variant_id else old for old in product.variants)
        self._save(replace(product, variants=variants))
        if touch:
            stock_changed = changed.stock != variant.stock
            self._variant_changed(ChangeKind.VARIANT_UPDATED, changed, stock_changed=stock_changed)
        return changed

    def delete_variant(self, variant_id: int, *, touch: bool = True) -> None:
        """Delete a variant. With `touch=False` no date changes, and it is added to the `stale_children`."""
        product, variant = self._require_variant(variant_id)
        self._unused_variant_id(product)
        stale = self.stale_children(product.id)
        variants = tuple(other for other in product.variants if other.id != variant_id)
        updated = self._clock() if touch else product.updated
        self._save(replace(product, variants=variants, updated=updated))
        if touch:
            self._variant_changed(ChangeKind.VARIANT_DELETED, variant)
        else:
            self._stale_children[product.id] = (*stale, variant_id)

    def stale_children(self, product_id: int) -> tuple[int, ...]:
        """Return the variants that were deleted with `touch=False` since the product was last saved.

        WooCommerce's cached list of children (WooQuirk.STALE_CHILDREN) still names them.
        """
        return self._stale_children.get(product_id, ())

    # -- helpers

    def _variant_changed(self, kind: ChangeKind, variant: Variant, *, stock_changed: bool = False) -> None:
        self.on_change(
            Change(
                kind=kind,
                product_id=variant.product_id,
                variant_ids=(variant.id,),
                stock_changed=stock_changed,
            )
        )

    def _save(self, product: Product) -> Product:
        self._stale_children.pop(product.id, None)
        self._changed[product.id] = product
        self._rows[product.id] = ProductRow.of(product)
        self._invalidate_views()
        return product

    def _invalidate_views(self) -> None:
        self.revision += 1
        self._views.clear()

    def _unused_variant_id(self, product: Product) -> int:
        """Return the next variant id of a product, and reserve it."""
        index = cast("int", self._generator.ids.index_of_product(product.id))
        after_last = max((variant.id for variant in product.variants), default=-1) + 1
        unused = max(after_last, self._next_variant.get(product.id, self._generator.ids.variant(index, 0)))
        self._next_variant[product.id] = unused + 1
        return unused

    def _require_product(self, product_id: int) -> Product:
        product = self.product(product_id)
        if product is None:
            raise KeyError(product_id)
        return product

    def _require_variant(self, variant_id: int) -> tuple[Product, Variant]:
        found = self.variant(variant_id)
        if found is None:
            raise KeyError(variant_id)
        return found
