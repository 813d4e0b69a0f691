"""A shop that changes at random: batches, sweeps, ends of syncs and purges, each as one step."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.types.v1 import product_pb2

from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import ClaimedSync, Lease, SyncState
from catalog_svc.source import decode
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.purging import store_of

_PRODUCTS = [f"p{number}" for number in range(7)]
_ITEMS = [f"i{number}" for number in range(16)]
_PRICES = ["1.00", "2.00"]
_INVALID_PRICE = "free"
_STEPS = {"batch": 60, "repeat": 5, "same": 5, "sweep": 10, "end": 12, "purge": 8}


class RandomShop:
    """Random steps of the syncs of one shop; the same seed gives the same steps."""

    def __init__(self, world: CatalogWorld, seed: int) -> None:
        self._world = world
        self._random = Random(seed)
        self._claimed: ClaimedSync | None = None
        self._lease: Lease | None = None
        self._last: tuple[Lease, SourceBatch] | None = None
        self.done: list[str] = []
        """The names of the steps."""

    async def step(self) -> str:
        """Take a step, one transaction that may write products and items, and return its name."""
        claimed, lease = await self._running()
        name = self._random.choices(list(_STEPS), list(_STEPS.values()))[0]
        if name == "purge":
            await store_of(self._world).purge_deleted(older_than=timedelta())
        elif name == "end":
            await self._end(lease)
        elif name == "sweep":
            self._lease, _ = await self._world.sweeps.step(lease, claimed.sync.shop)
            self._last = None
        elif name == "repeat" and self._last is not None:
            # As after a commit whose answer got lost.
            await self._apply(*self._last)
        else:
            name, batch = ("same", self._last[1]) if name == "same" and self._last else ("batch", self._batch())
            self._lease, self._last = await self._apply(lease, batch), (lease, batch)
        self.done.append(name)
        return name

    async def _running(self) -> tuple[ClaimedSync, Lease]:
        if self._claimed is None or self._lease is None:
            await self._world.create_sync(allow_mass_delete=True)
            self._claimed = await self._world.claim()
            self._lease = self._claimed.lease
            self._last = None
        return self._claimed, self._lease

    async def _apply(self, lease: Lease, batch: SourceBatch) -> Lease:
        assert self._claimed is not None
        shop = self._claimed.sync.shop
        following, _ = await self._world.batches.apply(lease, shop, batch, full=True, items_per_second=None)
        return following

    async def _end(self, lease: Lease) -> None:
        state = self._random.choice([SyncState.SUCCEEDED, SyncState.FAILED, SyncState.CANCELLED])
        if state is SyncState.CANCELLED:
            await self._world.commands.cancel(lease.sync_id)
        else:
            await self._world.leases.end(lease, state)
        self._claimed = self._lease = None

    def _batch(self) -> SourceBatch:
        chance = self._random
        named = chance.sample(_PRODUCTS, chance.randint(0, 4))
        message = pb.ProductBatch(
            products=[self._product(product_id) for product_id in named],
            deleted_product_ids=chance.sample(_PRODUCTS, chance.choice([0, 0, 0, 1, 2])),
            stock_levels=[self._level(item_id) for item_id in chance.sample(_ITEMS, chance.choice([0, 0, 2, 5]))],
            checkpoint=chance.randbytes(8),
        )
        return decode.batch(message, currency_code="EUR")

    def _product(self, product_id: str) -> pb.Product:
        chance = self._random
        images = [pb.Image(id="1", url="https://images.example/product")] if chance.random() < 0.3 else []
        return pb.Product(
            id=product_id,
            title=chance.choice(["Shirt", "Hat"]),
            vendor=chance.choice(["", "Acme"]),
            status=product_pb2.PRODUCT_STATUS_ACTIVE,
            variants_complete=chance.random() < 0.8,
            images=images,
            # Any item may be in any product: items move, and two products of a batch may name the same one.
            variants=[self._variant(item_id) for item_id in chance.sample(_ITEMS, chance.randint(0, 4))],
        )

    def _variant(self, item_id: str) -> pb.Variant:
        chance = self._random
        price = _INVALID_PRICE if chance.random() < 0.03 else chance.choice(_PRICES)
        image = pb.Image(id="2", url="https://images.example/item") if chance.random() < 0.4 else None
        return pb.Variant(
            id=item_id, price_amount=price, available=True, image=image, stock_quantity=chance.randint(0, 1)
        )

    def _level(self, item_id: str) -> pb.StockLevel:
        chance = self._random
        offer = pb.Offer(sku="", price_amount=chance.choice(_PRICES)) if chance.random() < 0.5 else None
        return pb.StockLevel(
            variant_id=item_id, stock_quantity=chance.randint(0, 2), available=chance.random() < 0.8, offer=offer
        )
