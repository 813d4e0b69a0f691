"""The credentials that the demo writes, and when a shop's catalog counts as complete."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

from catalogsync.catalog.v1.catalog_service_pb2 import GetStatusResponse, Sync
from catalogsync_client import ShopName

from demo.stack import DemoShop, _write_credentials
from demo.syncs import SyncResult

SHOP = DemoShop(
    name=ShopName("woocommerce", "store.example"),
    base_url="https://127.0.0.1:1/store.example",
    credentials={"consumer_key": "ck_1", "consumer_secret": 'cs_"2'},
    product_count=10,
    item_count=40,
)


def test_credentials_are_written_in_the_connectors_format_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "credentials.toml"
    file.touch(mode=0o644)
    _write_credentials(file, (SHOP,))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tomllib.loads(file.read_text())["woocommerce"]["store.example"] == SHOP.credentials


def sync_result(state: Sync.State.ValueType, products: int, items: int) -> SyncResult:
    status = GetStatusResponse(product_count=products, item_count=items)
    return SyncResult(shop=SHOP, sync=Sync(state=state), status=status)


def test_a_catalog_is_complete_only_with_every_product_and_item_and_a_successful_sync() -> None:
    assert sync_result(Sync.STATE_SUCCEEDED, 10, 40).problems == []
    assert sync_result(Sync.STATE_SUCCEEDED, 9, 40).problems == ["9 products are stored, the store has 10"]
    assert sync_result(Sync.STATE_SUCCEEDED, 10, 41).problems == ["41 items are stored, the store has 40"]
    assert sync_result(Sync.STATE_FAILED, 10, 40).problems == ["its sync FAILED"]
