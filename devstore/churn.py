"""Random changes of catalogs while they are read: prices, stock, SKUs, added and removed products and variants."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Kind, Platform, Product, ProductRow


class CatalogMutator:
    """Make random changes to random catalogs. A catalog keeps about its initial number of products."""

    def __init__(self, catalogs: Sequence[Catalog], random: Random) -> None:
        self.counts: Counter[str] = Counter()
        """The changes made so far, by kind."""
        self._catalogs = [(catalog, len(catalog)) for catalog in catalogs]
        self._random = random
        self._stopping = False

    async def run(self, interval_seconds: float) -> None:
        """Make one change about every `interval_seconds` (plus or minus half of that) until `stop` is called."""
        while not self._stopping:
            self.change()
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * interval_seconds)

    def stop(self) -> None:
        """Make `run` return without a further change."""
        self._stopping = True

    def change(self) -> None:
        """Make one change."""
        catalog, size = self._random.choice(self._catalogs)
        row = self._random.choice(list(catalog.rows()))
        draw = self._random.random()
        if draw < 0.08:
            self._add(catalog)
        elif draw < 0.16:
            if len(catalog) > size * 0.9:
                self._remove(catalog, row)
        elif draw < 0.26:
            self._change_variants(catalog, row)
        else:
            self._change_offer(catalog, row)

    def _add(self, catalog: Catalog) -> None:
        product = catalog.add_product(sku=f"NEW-{self._random.randrange(10**6):06d}", stock=self._stock())
        if catalog.platform is Platform.SHOPIFY:
            catalog.update_variant(product.variants[0].id, price=self._price(), stock=self._stock())
        self.counts["products_added"] += 1

    def _remove(self, catalog: Catalog, row: ProductRow) -> None:
        if catalog.platform is Platform.WOOCOMMERCE and self._random.random() < 0.5 and row.status != "trash":
            catalog.trash_product(row.id)
        else:
            catalog.delete_product(row.id)
        self.counts["products_removed"] += 1

    def _change_variants(self, catalog: Catalog, row: ProductRow) -> None:
        product = catalog.product(row.id)
        if product is None or product.kind is not Kind.VARIABLE or not product.variants:
            return
        if len(product.variants) > 2 and self._random.random() < 0.5:
            catalog.delete_variant(self._random.choice(product.variants).id)
            self.counts["variants_removed"] += 1
        elif len(product.variants) < 20:
            self._add_variant(catalog, product)

    def _add_variant(self, catalog: Catalog, product: Product) -> None:
        template = self._random.choice(product.variants)
        catalog.add_variant(
            product.id,
            title=template.title,
            options=template.options,
            sku=f"VAR-{self._random.randrange(10**6):06d}",
            price=self._price(),
            stock=self._stock(),
        )
        self.counts["variants_added"] += 1

    def _change_offer(self, catalog: Catalog, row: ProductRow) -> None:
        product = catalog.product(row.id)
        if product is None:
            return
        sku = f"SKU-{self._random.randrange(10**6):06d}"
        if product.variants:
            variant = self._random.choice(product.variants)
            catalog.update_variant(variant.id, price=self._price(), stock=self._stock(), sku=sku)
        else:
            catalog.update_product(row.id, price=self._price(), stock=self._stock(), sku=sku)
        self.counts["offers_changed"] += 1

    def _price(self) -> str:
        return f"{self._random.randrange(100, 99_999) / 100:.2f}"

    def _stock(self) -> int:
        return self._random.randrange(500)


class Churn:
    """A background task that makes about `changes_per_second` changes to one catalog, from `start` to `stop`."""

    def __init__(self, catalog: Catalog, *, changes_per_second: float, seed: int) -> None:
        if changes_per_second <= 0:
            raise ValueError("changes_per_second must be above 0")
        self._mutator = CatalogMutator([catalog], Random(seed))
        self._interval_seconds = 1 / changes_per_second
        self._task: asyncio.Task[None] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The changes made so far, by kind."""
        return dict(self._mutator.counts)

    def start(self) -> None:
        """Start changing the catalog."""
        self._task = asyncio.create_task(self._mutator.run(self._interval_seconds))

    async def stop(self) -> None:
        """Stop changing the catalog."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None


@asynccontextmanager
async def churning(catalog: Catalog, *, changes_per_second: float, seed: int = 7) -> AsyncIterator[Churn]:
    """Change the catalog until the block ends."""
    churn = Churn(catalog, changes_per_second=changes_per_second, seed=seed)
    churn.start()
    try:
        yield churn
    finally:
        await churn.stop()
