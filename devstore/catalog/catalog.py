"""The truth about one shop: what it sells now, in memory, changed by tests and shown by a face."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar, Unpack, cast

from devstore.catalog.generator import Generator
from devstore.catalog.model import Kind, Platform, Product, ProductChanges, Row, Variant, VariantChanges
from devstore.catalog.sellable_item import SellableItem, items_of
from devstore.spec import ShopSpec

T = TypeVar("T")

_BUILT_PRODUCTS = 2_048
_VIEWS = 32


def now() -> datetime:
    """The clock of a shop: UTC, whole seconds, as platforms store their dates."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What is remembered of a product that is gone."""

    product_id: int
    title: str
    at: datetime


class Catalog:
    """Products are built when read and forgotten again, so 100,000 variants cost little until they are changed.

    Changes move `updated` as the platform does: a variant's change moves the variant and its product (on
    BigCommerce not the product), a product's change the product alone. With `touch=False` no date moves, as after
    a write by SQL.
    """

    def __init__(self, spec: ShopSpec, *, clock: Callable[[], datetime] = now) -> None:
        self.spec = spec
        self.revision = 0
        self.deletions: list[Deletion] = []
        """What was deleted, oldest first; a platform may keep a log of it."""
        self._clock = clock
        self._generator = Generator.of(spec)
        self._rows = {row.id: row for row in map(self._generator.row, range(spec.products))}
        self._changed: dict[int, Product] = {}
        self._next_index = spec.products
        self._next_variant: dict[int, int] = {}
        self._stale_children: dict[int, tuple[int, ...]] = {}
        self._build = lru_cache(_BUILT_PRODUCTS)(self._generator.product)
        self._views: OrderedDict[Hashable, object] = OrderedDict()

    # -- reading

    @property
    def platform(self) -> Platform:
        return self.spec.platform

    def __len__(self) -> int:
        """How many products there are, trashed ones included."""
        return len(self._rows)

    @property
    def listed_count(self) -> int:
        """How many products a full sync meets: all but the trashed ones."""
        return sum(row.status != "trash" for row in self._rows.values())

    @property
    def variant_count(self) -> int:
        return sum(len(row.variant_ids) for row in self._rows.values())

    @property
    def item_count(self) -> int:
        """How many rows sellable_items() gives, without building a product."""
        sold = [row for row in self._rows.values() if row.status != "trash"]
        return sum(len(row.variant_ids) if row.kind is Kind.VARIABLE else 1 for row in sold)

    def rows(self) -> Iterator[Row]:
        """The index, in order of ids."""
        return iter(self._rows.values())

    def product(self, product_id: int) -> Product | None:
        if product_id not in self._rows:
            return None
        index = self._generator.ids.index_of_product(product_id)
        return self._changed.get(product_id) or self._build(cast("int", index))

    def variant(self, variant_id: int) -> tuple[Product, Variant] | None:
        """The variant together with its product."""
        product = self.product(self._generator.ids.product_of_variant(variant_id))
        found = (variant for variant in (product.variants if product else ()) if variant.id == variant_id)
        variant = next(found, None)
        return (product, variant) if product and variant else None

    def as_generated(self, product_id: int) -> Product | None:
        """The product before any change; None when it was added later."""
        index = cast("int", self._generator.ids.index_of_product(product_id))
        return self._build(index) if index < self.spec.products else None

    def has_image(self, image_id: int) -> bool:
        product = self.product(self._generator.ids.product_of_image(image_id))
        return product is not None and any(image.id == image_id for image in product.images)

    def products(self) -> Iterator[Product]:
        """Every product, trashed ones included, in order of ids."""
        return (product for row in list(self._rows) if (product := self.product(row)))

    def sellable_items(self) -> Iterator[SellableItem]:
        """The rows that a complete sync ends up with."""
        for product in self.products():
            # A grouped product is sold under its own name, at the price of its cheapest part.
            grouped = product.kind is Kind.GROUPED
            yield from items_of(
                self.platform, replace(product, price=self.lowest_price(product)) if grouped else product
            )

    def lowest_price(self, product: Product) -> str:
        """What a product shows as its price: its own, or the lowest of what it stands for; "" for none."""
        if product.kind is Kind.GROUPED:
            linked = [found for i in product.linked if (found := self.product(i))]
            texts = [self.lowest_price(one) for one in linked if one.status == "publish"]
        elif product.kind is Kind.VARIABLE:
            texts = [variant.price for variant in product.variants if variant.status == "publish"]
        else:
            return product.price
        return min((text for text in texts if text), key=Decimal, default="")

    def special(self, name: str) -> Product:
        """The special product of that name; KeyError when this catalog has none."""
        for index, special in ((2 * n + 1, s) for n, s in enumerate(self._generator.specials)):
            product = self.product(self._generator.ids.product(index))
            if special.name == name and product:
                return product
        raise KeyError(name)

    def view(self, key: Hashable, build: Callable[[], T]) -> T:
        """`build()`, remembered until the catalog changes: what makes a page cost no more than a page."""
        full_key = (self.revision, key)
        if full_key not in self._views:
            self._views[full_key] = build()
            while len(self._views) > _VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(full_key)
        return cast("T", self._views[full_key])

    # -- changing

    def add_product(self, **fields: Unpack[ProductChanges]) -> Product:
        """A new product, the newest by id, without images. On Shopify and BigCommerce it has one variant."""
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
        self._store(replace(product, **fields))
        if self.platform is Platform.SHOPIFY:
            default = (("Title", "Default Title"),)
            self.add_variant(product.id, title="Default Title", options=default, price="10.00", stock=0)
        elif variants:
            self.add_variant(product.id, title="", price="10.00", stock=0)
        return self._must(product.id)

    def update_product(self, product_id: int, *, touch: bool = True, **changes: Unpack[ProductChanges]) -> Product:
        product = replace(self._must(product_id), **changes)
        return self._store(replace(product, updated=self._clock()) if touch else product)

    def trash_product(self, product_id: int) -> Product:
        """WooCommerce's bin: listed only by status=trash, and its date of change moves."""
        return self.update_product(product_id, status="trash")

    def delete_product(self, product_id: int) -> None:
        """Gone from every list."""
        product = self._must(product_id)
        self.deletions.append(Deletion(product_id=product_id, title=product.title, at=self._clock()))
        del self._rows[product_id]
        self._changed.pop(product_id, None)
        self._turn()

    def add_variant(self, product_id: int, **fields: Unpack[VariantChanges]) -> Variant:
        """A new variant at the end of its product. Ids of deleted variants are not used again."""
        product, when = self._must(product_id), self._clock()
        variant_id = self._fresh_variant_id(product)
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
        self._store(replace(product, variants=(*product.variants, variant), updated=when))
        return variant

    def update_variant(self, variant_id: int, *, touch: bool = True, **changes: Unpack[VariantChanges]) -> Variant:
        product, variant = self._must_variant(variant_id)
        when = self._clock()
        changed = replace(variant, **changes)
        if touch and self.platform is Platform.BIGCOMMERCE:
            # Its variants have no date, and their product's does not move.
            changed = replace(changed, updated=when)
        elif touch:
            changed, product = replace(changed, updated=when), replace(product, updated=when)
        variants = tuple(changed if old.id == variant_id else old for old in product.variants)
        self._store(replace(product, variants=variants))
        return changed

    def delete_variant(self, variant_id: int, *, touch: bool = True) -> None:
        """With `touch=False` no date moves, and WooCommerce's cached list of children goes on naming it."""
        product, _ = self._must_variant(variant_id)
        self._fresh_variant_id(product)
        named = self.stale_children(product.id)
        variants = tuple(variant for variant in product.variants if variant.id != variant_id)
        updated = self._clock() if touch else product.updated
        self._store(replace(product, variants=variants, updated=updated))
        if not touch:
            self._stale_children[product.id] = (*named, variant_id)

    def stale_children(self, product_id: int) -> tuple[int, ...]:
        """Variants that were removed without a date since the product was last written to."""
        return self._stale_children.get(product_id, ())

    # -- inside

    def _store(self, product: Product) -> Product:
        self._stale_children.pop(product.id, None)
        self._changed[product.id] = product
        self._rows[product.id] = Row.of(product)
        self._turn()
        return product

    def _turn(self) -> None:
        self.revision += 1
        self._views.clear()

    def _fresh_variant_id(self, product: Product) -> int:
        index = cast("int", self._generator.ids.index_of_product(product.id))
        after_last = max((variant.id for variant in product.variants), default=-1) + 1
        fresh = max(after_last, self._next_variant.get(product.id, self._generator.ids.variant(index, 0)))
        self._next_variant[product.id] = fresh + 1
        return fresh

    def _must(self, product_id: int) -> Product:
        product = self.product(product_id)
        if product is None:
            raise KeyError(product_id)
        return product

    def _must_variant(self, variant_id: int) -> tuple[Product, Variant]:
        found = self.variant(variant_id)
        if found is None:
            raise KeyError(variant_id)
        return found
