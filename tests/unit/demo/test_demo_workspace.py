from __future__ import annotations

import socket
import stat
import tomllib
from pathlib import Path

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import GetStatusResponse, Sync
from catalogsync_cli.shop import ShopName

from demo.stack import DemoShop, _write_credentials
from demo.syncs import Outcome
from demo.workspace import PlaceTaken, choose_ports, taken_place

SHOP = DemoShop(
    name=ShopName("woocommerce", "store.example"),
    base_url="https://127.0.0.1:1/store.example",
    credentials={"consumer_key": "ck_1", "consumer_secret": 'cs_"2'},
    product_count=10,
    item_count=40,
)


def test_a_place_serves_one_demo_at_a_time_and_says_who_has_it(tmp_path: Path) -> None:
    with taken_place(tmp_path) as place:
        place.note_users({"catalog_svc": 4711})
        with pytest.raises(PlaceTaken, match=r"catalog_svc \(pid 4711\)"), taken_place(tmp_path):
            pass
    with taken_place(tmp_path):
        pass


def test_ports_stay_the_same_from_run_to_run(tmp_path: Path) -> None:
    first = choose_ports(tmp_path / "ports.json")
    assert choose_ports(tmp_path / "ports.json") == first
    assert len(set(first.values())) == 3


def test_a_port_in_use_is_replaced_by_a_free_one(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        memory.write_text(f'{{"catalog": {port}}}')
        assert choose_ports(memory)["catalog"] != port


@pytest.mark.parametrize("text", ["", "[]", "{broken", '{"catalog": "x"}'])
def test_a_broken_memory_of_ports_is_no_obstacle(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    assert set(choose_ports(tmp_path / "ports.json")) == {"catalog", "connector", "devstore"}


def test_credentials_are_readable_by_the_connector_and_by_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "credentials.toml"
    file.touch(mode=0o644)
    _write_credentials(file, (SHOP,))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tomllib.loads(file.read_text())["woocommerce"]["store.example"] == SHOP.credentials


def outcome(state: Sync.State.ValueType, products: int, items: int) -> Outcome:
    status = GetStatusResponse(product_count=products, item_count=items)
    return Outcome(shop=SHOP, sync=Sync(state=state), status=status)


def test_a_catalog_is_complete_only_with_every_product_and_item_and_a_successful_sync() -> None:
    assert outcome(Sync.STATE_SUCCEEDED, 10, 40).faults == []
    assert outcome(Sync.STATE_SUCCEEDED, 9, 40).faults == ["9 products are stored, the store has 10"]
    assert outcome(Sync.STATE_SUCCEEDED, 10, 41).faults == ["41 items are stored, the store has 40"]
    assert outcome(Sync.STATE_FAILED, 10, 40).faults == ["its sync FAILED"]
