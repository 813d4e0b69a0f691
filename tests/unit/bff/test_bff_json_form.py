"""The JSON form of messages: what page and programs rely on."""

from __future__ import annotations

import json

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2 import AnalysisResult
from catalogsync.types.v1.product_pb2 import Money
from catalogsync_bff.json_form import encode, to_json
from catalogsync_bff.schemas import RECORDS, record_schemas
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo


def test_every_field_is_present_in_the_order_of_the_contract() -> None:
    assert list(to_json(pb.Sync())) == [field.name for field in pb.Sync.DESCRIPTOR.fields]


def test_absent_is_null_and_zero_is_zero() -> None:
    item = to_json(pb.Item(item_id="1", stock_quantity=0))
    assert item["stock_quantity"] == 0
    assert to_json(pb.Item())["stock_quantity"] is None
    assert item["price"] is None
    assert item["delete_time"] is None
    assert item["options"] == []
    assert item["sku"] == ""
    assert item["available"] is False


def test_enums_have_no_prefix_and_unknown_values_a_number() -> None:
    sync = pb.Sync(state=pb.Sync.STATE_RUNNING, mode=pb.Sync.MODE_FULL)
    sync.waiting.reason = pb.Waiting.REASON_TOKEN_SERVICE
    assert (to_json(sync)["state"], to_json(sync)["mode"]) == ("RUNNING", "FULL")
    assert to_json(sync)["waiting"]["reason"] == "TOKEN_SERVICE"
    newer = pb.Sync.FromString(pb.Sync(attempt_count=1).SerializeToString() + b"\x18\x63")
    assert to_json(newer)["state"] == "UNKNOWN_99"


def test_numbers_times_durations_and_money_are_exact() -> None:
    item = pb.Item(price=Money(amount="7.30", currency_code="USD"), feed_position=2**40)
    item.create_time.FromJsonString("2026-11-30T21:55:24.640069Z")
    content = json.loads(encode(to_json(item)))
    assert content["price"] == {"amount": "7.30", "currency_code": "USD"}
    assert content["feed_position"] == 2**40
    assert content["create_time"] == "2026-11-30T21:55:24.640069Z"
    assert to_json(Timestamp(seconds=1_700_000_000)) == "2023-11-14T22:13:20.000Z"
    assert to_json(Duration(seconds=90)) == 90
    assert to_json(Duration(seconds=1, nanos=500_000_000)) == 1.5


def test_attributes_of_an_analysis_are_the_object_that_they_hold() -> None:
    result = AnalysisResult(quality_score="0.50")
    result.attributes.update({"components": [{"measured": 120, "score": 0.5}], "none": None})
    content = json.loads(encode(to_json(result)))
    assert content["attributes"] == {"components": [{"measured": 120, "score": 0.5}], "none": None}
    assert content["quality_score"] == "0.50"
    assert to_json(AnalysisResult())["attributes"] is None


def test_the_error_of_a_sync_has_its_reason_and_its_metadata() -> None:
    sync = pb.Sync()
    sync.error.code = 9
    sync.error.message = "MASS_DELETE_BLOCKED: it would delete 90 of 100 items"
    info = ErrorInfo(reason="MASS_DELETE_BLOCKED", domain="catalogsync", metadata={"would_delete": "90"})
    sync.error.details.add().Pack(info)
    assert to_json(sync)["error"] == {
        "code": "FAILED_PRECONDITION",
        "reason": "MASS_DELETE_BLOCKED",
        "message": "it would delete 90 of 100 items",
        "metadata": {"would_delete": "90"},
    }


def test_the_schemas_describe_the_same_keys() -> None:
    """Both are made of the contract by different code."""
    schemas = record_schemas()
    for record in RECORDS:
        names = {"GetStatusResponse": "ShopStatus", "GetAnalysisResponse": "ItemAnalyses"}
        name = names.get(record.__name__, record.__name__)
        assert list(schemas[name]["properties"]) == list(to_json(record()))
