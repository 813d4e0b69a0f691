"""A catalog whose syncs are in exactly the states that a test of the page needs, for a real BFF."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from tests.fakes.catalog_service import FakeCatalog, ShopName


class ScriptedCatalog(FakeCatalog):
    """A FakeCatalog in which shops are named by their ids, as the BFF does, and have a freshness."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh_as_of: dict[str, Timestamp] = {}
        """By shop_id."""

    def add_shop(self, domain: str = "demo.myshopify.com", *, name: str = "Demo Shop") -> pb.Shop:
        """Register a Shopify shop whose next sync is due in an hour."""
        shop = self.register(pb.ShopRef(platform="shopify", domain=domain), display_name=name, currency_code="USD")
        schedule = pb.ShopSchedule(next_due_time=from_now(3600))
        schedule.incremental_interval.FromSeconds(3600)
        schedule.full_interval.FromSeconds(86_400)
        self.schedules[_key(shop)] = schedule
        return shop

    def connect(self, shop: pb.Shop, **health: Any) -> None:
        """Set the health of a shop's connection."""
        self.connections[_key(shop)] = pb.ConnectionHealth(**health)

    def add_items(self, shop: pb.Shop, items: list[pb.Item]) -> None:
        """Add items of the shop, with a product for each product_id."""
        self.items[_key(shop)].extend(items)
        products: dict[str, pb.Product] = {}
        for item in items:
            product = products.setdefault(
                item.product_id,
                pb.Product(
                    product_id=item.product_id,
                    title=item.product_title,
                    images=[pb.ProductImage(url=item.image_url)] if item.image_url else [],
                    delete_time=item.delete_time if item.HasField("delete_time") else None,
                ),
            )
            product.items.append(item)
        self.products.setdefault(_key(shop), []).extend(products.values())

    def add_running(self, shop: pb.Shop, *, items: int = 0, total: int | None = None, **fields: Any) -> pb.Sync:
        """Add a sync that has read so many items."""
        sync = self.add_sync(
            shop,
            state=pb.Sync.STATE_RUNNING,
            trigger=pb.Sync.TRIGGER_REQUEST,
            progress=progress(items, total),
            **fields,
        )
        sync.start_time.GetCurrentTime()
        return sync

    def add_sync(self, shop: pb.Shop, **fields: Any) -> pb.Sync:
        return super().add_sync(self.shops.get(_key(shop), shop), **fields)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:
        status = await super().GetStatus(request, context)
        shop = self._shop(request.shop)
        status.shop.CopyFrom(shop)
        if _key(shop) in self.connections:
            status.connection.CopyFrom(self.connections[_key(shop)])
        if shop.shop_id in self.fresh_as_of:
            status.fresh_as_of_time.CopyFrom(self.fresh_as_of[shop.shop_id])
        return status

    def _record(self, method: str, request: Any, context: Any) -> None:
        """Record a call; add platform and domain to a shop that is named by its id."""
        if "shop" in request.DESCRIPTOR.fields_by_name and request.HasField("shop") and request.shop.shop_id:
            found = [shop for shop in self.shops.values() if shop.shop_id == request.shop.shop_id]
            if found:
                request.shop.platform, request.shop.domain = found[0].platform, found[0].domain
        super()._record(method, request, context)


def from_now(seconds: float) -> Timestamp:
    """Return a time so many seconds in the future, or in the past."""
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return stamp


def progress(items: int, total: int | None = None, *, created: int = 0, **fields: Any) -> pb.Progress:
    """Return the progress of a read of products with one item each."""
    counts = pb.RecordCounts(seen_count=items, created_count=created, unchanged_count=items - created)
    return pb.Progress(
        products=counts, items=counts, estimated_product_count=total, estimated_item_count=total, **fields
    )


def _key(shop: ShopName) -> str:
    return f"{shop.platform}:{shop.domain}"
