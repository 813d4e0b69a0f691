"""Requests about shops: what is converted, and which fields an error names."""

from __future__ import annotations

from datetime import timedelta

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.failure import InvalidRequest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from catalog_svc.domain.shop import ShopChange, ShopField, ShopKey
from catalog_svc.domain.status import ConnectionState, ShopFilter
from catalog_svc.rpc.request_validator import RequestValidator

EVERYTHING = [field.value for field in ShopField]
MINUTE = timedelta(minutes=1)


def changed(update: pb.ShopUpdate, *paths: str) -> ShopChange:
    validator = RequestValidator()
    change = validator.shop_change(update, FieldMask(paths=paths))
    validator.raise_if_any()
    return change


def rejected_fields(validator: RequestValidator) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        validator.raise_if_any()
    return [violation.field for violation in caught.value.violations]


def rejected_change(update: pb.ShopUpdate, *paths: str) -> list[str]:
    validator = RequestValidator()
    validator.shop_change(update, FieldMask(paths=paths))
    return rejected_fields(validator)


def test_an_update_has_the_values_of_the_fields_that_its_mask_names() -> None:
    update = pb.ShopUpdate(
        merchant_id="acme",
        display_name="Acme",
        incremental_interval=Duration(seconds=60),
        full_interval=Duration(),
        paused=True,
    )
    assert changed(update, *EVERYTHING, "paused") == ShopChange(
        fields=frozenset(ShopField),
        merchant_id="acme",
        display_name="Acme",
        incremental_every=MINUTE,
        full_every=timedelta(),
        paused=True,
    )
    only = changed(update, "full_interval")
    assert only == ShopChange(fields=frozenset({ShopField.FULL_INTERVAL}), full_every=timedelta())


def test_a_named_field_that_is_absent_is_reset() -> None:
    assert changed(pb.ShopUpdate(), *EVERYTHING) == ShopChange(fields=frozenset(ShopField))


def test_the_fields_of_the_mask_are_those_of_the_contract() -> None:
    assert set(EVERYTHING) == set(pb.ShopUpdate.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("path", ["", "domain", "merchantId", "update.paused", "full_interval.seconds", "*"])
def test_an_unknown_path_is_rejected_and_names_the_mask(path: str) -> None:
    assert rejected_change(pb.ShopUpdate(), "paused", path) == ["update_mask"]


def test_an_empty_mask_is_rejected() -> None:
    assert rejected_change(pb.ShopUpdate(paused=True)) == ["update_mask"]


@pytest.mark.parametrize(
    ("update", "field"),
    [
        (pb.ShopUpdate(merchant_id="x" * 256), "merchant_id"),
        (pb.ShopUpdate(display_name="a\0b"), "display_name"),
        (pb.ShopUpdate(incremental_interval=Duration(seconds=59)), "incremental_interval"),
        (pb.ShopUpdate(full_interval=Duration(seconds=-1)), "full_interval"),
        (pb.ShopUpdate(full_interval=Duration(seconds=2**62)), "full_interval"),
    ],
)
def test_an_invalid_value_is_named_if_the_mask_names_its_field(update: pb.ShopUpdate, field: str) -> None:
    assert rejected_change(update, field) == [f"update.{field}"]
    changed(update, "paused")


def test_255_characters_are_allowed() -> None:
    assert changed(pb.ShopUpdate(merchant_id="x" * 255), "merchant_id").merchant_id == "x" * 255


def test_the_key_of_a_shop_is_canonical_and_its_fields_are_those_of_the_request() -> None:
    validator = RequestValidator()
    assert validator.shop_key("Shopify", "Demo.MyShopify.com.") == ShopKey("shopify", "demo.myshopify.com")
    validator.raise_if_any()
    validator.shop_key("", "not a host")
    assert rejected_fields(validator) == ["platform", "domain"]


def test_filters_of_shops() -> None:
    validator = RequestValidator()
    assert validator.shop_filter(pb.ListShopsRequest()) == ShopFilter()
    request = pb.ListShopsRequest(
        merchant_id="acme", platform="Shopify", connection_state=pb.ConnectionHealth.STATE_BROKEN
    )
    assert validator.shop_filter(request) == ShopFilter(
        merchant_id="acme", platform="shopify", connection=ConnectionState.BROKEN
    )
    validator.raise_if_any()
    validator.shop_filter(pb.ListShopsRequest(merchant_id="x" * 256, platform="?", connection_state=9))  # type: ignore[arg-type]
    assert rejected_fields(validator) == ["merchant_id", "platform", "connection_state"]


def test_many_elements_are_refused_without_reading_them() -> None:
    """4 MiB of states blocked the event loop for half a minute."""
    validator = RequestValidator()
    assert validator.states([pb.Sync.STATE_FAILED] * 33) == ()
    assert rejected_fields(validator) == ["states"]
    assert rejected_change(pb.ShopUpdate(), *["paused"] * 33) == ["update_mask"]
    assert changed(pb.ShopUpdate(), *["paused"] * 32).fields == {ShopField.PAUSED}


def test_the_number_of_recorded_violations_is_limited() -> None:
    validator = RequestValidator()
    for _ in range(1_000):
        validator.add_violation("field", "is wrong")
    assert len(rejected_fields(validator)) == 100
