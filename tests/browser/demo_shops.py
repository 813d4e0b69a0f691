"""Shops of a scripted catalog with one of each state that the page shows."""

from __future__ import annotations

from dataclasses import dataclass

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2
from catalogsync.types.v1 import product_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.browser.scripted_catalog import ScriptedCatalog, from_now, progress
from tests.fakes.catalog_service import timestamp
from tests.fakes.image_analyses import analyzed, failed, pending

_PRODUCTS = (
    ("Linen Shirt", "Sand", "59.00", 42),
    ("Merino Crew Neck", "Navy", "89.00", 8),
    ("Canvas Tote", "", "24.50", 130),
    ("Enamel Mug", "0.35 l", "14.00", 0),
    ("Wool Blanket", "130 by 180 cm", "149.00", 17),
    ("Oak Cutting Board", "Large", "64.90", -2),
    ("Beeswax Candle", "", "9.995", 310),
    ("Leather Belt", "95 cm", "75.00", 5),
)


@dataclass(frozen=True, kw_only=True)
class DemoShops:
    """The shops by state, and their syncs."""

    healthy: pb.Shop
    running: pb.Shop
    broken: pb.Shop
    new: pb.Shop
    with_issues: pb.Sync
    failed: pb.Sync
    active: pb.Sync


def add_demo_shops(catalog: ScriptedCatalog, *, pictures: str = "") -> DemoShops:
    """Add a healthy shop with analyzed items and issues, one whose sync runs, a broken one and a new one.

    Args:
        catalog: where they are added.
        pictures: the URL of pictures of the items, see `tests.browser.pictures`; empty: they have none.
    """
    healthy = catalog.add_shop("linen-and-oak.myshopify.com", name="Linen & Oak")
    catalog.connect(healthy, state=pb.ConnectionHealth.STATE_HEALTHY)
    catalog.fresh_as_of[healthy.shop_id] = from_now(-200)
    items = demo_items(pictures)
    analyze(catalog, healthy, items)
    catalog.add_items(healthy, items)
    with_issues = _succeeded(catalog, healthy)
    running = catalog.add_shop("north-coast.myshopify.com", name="North Coast Outfitters")
    catalog.connect(running, state=pb.ConnectionHealth.STATE_HEALTHY)
    catalog.fresh_as_of[running.shop_id] = from_now(-3000)
    catalog.add_items(running, demo_items(pictures)[4:])
    active = catalog.add_running(running, items=3120, total=5000)
    active.progress.items_per_second = 184
    active.progress.products.created_count, active.progress.products.updated_count = 12, 41
    active.progress.estimated_end_time.CopyFrom(from_now(180))
    broken = catalog.add_shop("attic-finds.myshopify.com", name="Attic Finds")
    reason = "ERROR_REASON_SOURCE_UNAUTHORIZED"
    catalog.connect(broken, state=pb.ConnectionHealth.STATE_BROKEN, reason=reason, message="HTTP 401")
    error = status_pb2.Status(code=9, message="SOURCE_UNAUTHORIZED: the shop answered HTTP 401")
    error.details.add().Pack(error_details_pb2.ErrorInfo(reason="SOURCE_UNAUTHORIZED", domain="catalogsync"))
    catalog.fresh_as_of[broken.shop_id] = from_now(-90_000)
    catalog.add_items(broken, demo_items(pictures)[2:5])
    failed = catalog.add_sync(
        broken, state=pb.Sync.STATE_FAILED, error=error, progress=progress(40, 100, created=40)
    )
    _set_times(failed, began=3720, took=12)
    new = catalog.add_shop("first-day.myshopify.com", name="First Day")
    return DemoShops(
        healthy=healthy,
        running=running,
        broken=broken,
        new=new,
        with_issues=with_issues,
        failed=failed,
        active=active,
    )


def demo_items(pictures: str) -> list[pb.Item]:
    """Return items with and without variant, stock, SKU and image; the last one is deleted."""
    items = [
        pb.Item(
            item_id=str(4200 + number),
            product_id=str(900 + number),
            feed_position=number + 1,
            product_title=title,
            title=variant,
            sku=f"LO-{1000 + number}",
            barcode="4006381333931",
            price=product_pb2.Money(amount=amount, currency_code="USD"),
            stock_quantity=stock,
            available=stock > 0,
            vendor="Linen & Oak",
            product_type="Home",
            image_url=f"{pictures}/{number}.png" if pictures and number != 5 else "",
            product_url=f"https://linen-and-oak.example/products/{number}",
            update_time=timestamp(1_780_000_000),
            source_update_time=timestamp(1_780_000_000),
        )
        for number, (title, variant, amount, stock) in enumerate(_PRODUCTS)
    ]
    items[-1].delete_time.CopyFrom(timestamp(1_780_000_000))
    return items


def analyze(catalog: ScriptedCatalog, shop: pb.Shop, items: list[pb.Item]) -> None:
    """Switch an analyzer on for the shop, and give its items an analysis in each state."""
    catalog.analyzers[f"{shop.platform}:{shop.domain}"] = ["image-quality"]
    by_number = {
        0: analyzed("0.87", description=_FINDING, attributes=_ATTRIBUTES),
        1: pending(),
        2: failed("IMAGE_NOT_FOUND", "the host answered HTTP 404"),
        3: analyzed("0.52", category="Kitchen", subcategory="Mugs"),
        4: analyzed("0.234"),
        6: analyzed("0.995"),
    }
    for number, item in enumerate(items):
        if not item.HasField("delete_time"):
            catalog.analyses.put(item, *([by_number[number]] if number in by_number else []))


_FINDING = "Sharp and bright, with little noise."
_COMPONENTS = [
    {"name": "resolution", "score": "1", "weight": "0.25", "measured": "1200 x 1200 px"},
    {"name": "sharpness", "score": 0.914, "weight": 0.4, "measured": 312.5678},
    {"name": "white_background", "score": "0.6", "weight": "0.35", "measured": None},
]
_ATTRIBUTES = {"components": _COMPONENTS, "width": 1200, "height": 1200}


def _succeeded(catalog: ScriptedCatalog, shop: pb.Shop) -> pb.Sync:
    for minutes, created, updated in ((190, 0, 0), (130, 2, 14)):
        earlier = catalog.add_sync(
            shop,
            state=pb.Sync.STATE_SUCCEEDED,
            mode=pb.Sync.MODE_INCREMENTAL,
            trigger=pb.Sync.TRIGGER_SCHEDULE,
            changes_since_time=from_now(-minutes * 60 - 3600),
            progress=progress(created + updated, created=created),
        )
        earlier.progress.products.updated_count = updated
        _set_times(earlier, began=minutes * 60, took=9)
    sync = catalog.add_sync(
        shop,
        state=pb.Sync.STATE_SUCCEEDED,
        trigger=pb.Sync.TRIGGER_REQUEST,
        progress=progress(1240, 1240, created=8, issue_count=3),
        notes=["Stock of bundles is not reported by the platform."],
    )
    sync.progress.products.updated_count = 31
    sync.progress.products.deleted_count = 2
    _set_times(sync, began=260, took=58)
    reasons = issue_reason_pb2.IssueReason
    catalog.issues[sync.sync_id] = [
        pb.SyncIssue(
            number=1, reason=reasons.ISSUE_REASON_INVALID_PRICE, product_id="901", item_id="4201", field="price",
            message="expected a decimal number", sample="“ask us”",
        ),
        pb.SyncIssue(
            number=2, reason=reasons.ISSUE_REASON_MISSING_FIELD, product_id="977", product_rejected=True,
            field="title", message="a product needs a title",
        ),
        pb.SyncIssue(number=3, reason=reasons.ISSUE_REASON_MISSING_ID, message="the record has no id"),
    ]  # fmt: skip
    return sync


def _set_times(sync: pb.Sync, *, began: float, took: float) -> None:
    """Set the times of an ended sync: so many seconds ago, and lasting so many."""
    sync.create_time.CopyFrom(from_now(-began))
    sync.start_time.CopyFrom(sync.create_time)
    sync.end_time.CopyFrom(from_now(took - began))
