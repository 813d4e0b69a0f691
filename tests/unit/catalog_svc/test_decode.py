"""Decoding of the connector's messages: nothing is changed, and the hash differs if and only if a product does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.types.v1 import product_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from catalog_svc.domain.records import IncomingProduct, RecordRejected
from catalog_svc.domain.sync import WaitReason
from catalog_svc.source import decode


def incoming(product: pb.Product, currency_code: str = "EUR") -> IncomingProduct:
    batch = decode.batch(pb.ProductBatch(products=[product]), currency_code=currency_code)
    return batch.products[0]


def shirt(**variant: Any) -> pb.Product:
    return pb.Product(
        id="1",
        title="Shirt",
        images=[pb.Image(url="https://a.example/1.png")],
        variants=[pb.Variant(id="11", sku="007", price_amount="7.30", **variant)],
    )


def test_absent_values_stay_absent_and_zero_stays_zero() -> None:
    _, (bare,) = incoming(shirt()).unpack()
    assert (bare.stock_quantity, bare.compare_at_price, bare.weight, bare.source_updated_at) == (None,) * 4
    _, (zero,) = incoming(shirt(stock_quantity=0, compare_at_price_amount="0.00", weight="0")).unpack()
    assert (zero.stock_quantity, zero.compare_at_price, zero.weight) == (0, "0.00", "0")


def test_a_variant_without_an_image_has_the_first_image_of_its_product() -> None:
    _, (without,) = incoming(shirt()).unpack()
    assert without.image_url == "https://a.example/1.png"
    _, (own,) = incoming(shirt(image=pb.Image(url="https://a.example/2.png"))).unpack()
    assert own.image_url == "https://a.example/2.png"


def test_times_are_utc_to_the_microsecond() -> None:
    stamp = Timestamp(seconds=1_767_225_599, nanos=999_999_000)
    assert decode.to_datetime(stamp) == datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_the_hash_covers_everything_that_is_stored() -> None:
    """A field that is added to the contract is part of the hash without a change here."""
    before = incoming(shirt()).content_hash
    assert incoming(shirt()).content_hash == before
    for change in ({"barcode": "4"}, {"available": True}, {"position": 2}, {"weight": "1"}, {"stock_quantity": 0}):
        assert incoming(shirt(**change)).content_hash != before, change
    assert incoming(shirt(), "USD").content_hash != before


def test_the_hash_of_a_product_does_not_depend_on_the_release() -> None:
    """A field with another number changes the hash of every product: each shop would be written again once."""
    time = Timestamp(seconds=1_767_225_599, nanos=5_000)
    image = pb.Image(id="5", url="https://a.example/1.png", alt_text="front", width=64, height=48)
    variant = pb.Variant(
        id="11",
        title="L",
        sku="007",
        barcode="40",
        price_amount="7.30",
        compare_at_price_amount="9.00",
        stock_quantity=-2,
        available=True,
        image=image,
        inventory_policy=pb.Variant.INVENTORY_POLICY_CONTINUE,
        weight="0.5",
        weight_unit="kg",
        options=[pb.SelectedOption(name="Size", value="L")],
        position=3,
        create_time=time,
        update_time=time,
    )
    product = pb.Product(
        id="1",
        title="Shirt",
        handle="shirt",
        description_html="<p>",
        vendor="Acme",
        product_type="Knit",
        tags=["a", "b"],
        status=product_pb2.PRODUCT_STATUS_UNLISTED,
        url="https://a.example/shirt",
        options=[pb.ProductOption(name="Size", values=["S", "L"])],
        images=[image],
        create_time=time,
        update_time=time,
        variants=[variant],
        variants_complete=True,
    )
    assert incoming(product).content_hash.hex() == "8827d10951527b4b4c37ddc87f076507"


def test_every_status_is_stored_by_its_name_in_the_contract() -> None:
    """Clients filter by the stored text: a release that wrote another one would split a shop's products."""
    stored = {
        incoming(pb.Product(id="1", status=status)).unpack()[0].status
        for status in product_pb2.ProductStatus.values()
    }
    assert stored == {"", "ACTIVE", "DRAFT", "ARCHIVED", "UNLISTED", "PRIVATE"}


def test_a_status_of_a_later_release_is_stored_as_none() -> None:
    record, _ = incoming(pb.Product.FromString(b"\x0a\x011\x40\x63")).unpack()
    assert record.status == ""


def test_a_wait_with_an_unknown_reason_is_still_a_wait() -> None:
    message = pb.Waiting(message="something new")
    assert decode.waiting(message).reason is WaitReason.CONNECTOR


@given(st.text(max_size=40), st.lists(st.text(max_size=10), max_size=3), st.text(max_size=20))
def test_texts_that_postgresql_rejects_are_cleaned(title: str, tags: list[str], option: str) -> None:
    product = shirt(options=[pb.SelectedOption(name=option, value=option)])
    product.title = title
    product.tags.extend(tags)
    record, (item,) = incoming(product).unpack()
    assert record.title == title.replace("\0", "")
    assert record.tags == [tag.replace("\0", "") for tag in tags]
    assert "\\u0000" not in item.options


@given(st.lists(st.sampled_from([None, 0, 7]), max_size=5), st.booleans())
def test_a_stock_of_zero_is_not_treated_as_nul_and_hides_none(stocks: list[int | None], nul: bool) -> None:
    """Both are zero bytes in the message; only a NUL may cost a search through all texts."""
    product = pb.Product(
        id="1", variants=[pb.Variant(id=str(n), stock_quantity=stock) for n, stock in enumerate(stocks)]
    )
    product.handle = "a\0b" if nul else "ab"
    record, items = incoming(product).unpack()
    assert record.handle == "ab"
    assert [item.stock_quantity for item in items] == stocks


@pytest.mark.parametrize("product", [pb.Product(id="1"), pb.Product(id="1", images=[pb.Image()])])
def test_a_product_without_any_fields_is_still_a_product(product: pb.Product) -> None:
    record, items = incoming(product).unpack()
    assert (record.product_id, record.item_count, items) == ("1", 0, [])


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("", None),
        ("7.30", "7.30"),
        ("0", "0"),
        ("007.30", "7.30"),
        ("-7.30", "-7.30"),
        ("-0.00", "0.00"),
        ("1E+2", "100"),
        ("1e-7", "0.0000001"),
        (".5", "0.5"),
    ],
)
def test_a_number_is_kept_digit_for_digit_as_the_database_writes_it(sent: str, stored: str | None) -> None:
    assert decode.parse_decimal(sent) == stored


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-inf", "1_0", "ten", "1E+999999", "9" * 61, "\uff17", "1\0"]
)
def test_a_text_that_is_not_an_exact_decimal_number_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an exact decimal number"):
        decode.parse_decimal(text)


@pytest.mark.parametrize(
    ("variant", "reason", "field"),
    [
        ({"price_amount": "NaN"}, "INVALID_PRICE", "price"),
        ({"compare_at_price_amount": "1_0"}, "INVALID_PRICE", "compare_at_price"),
        ({"weight": "heavy"}, "INVALID_FIELD", "weight"),
        ({"update_time": Timestamp(seconds=10**17)}, "INVALID_FIELD", "update_time"),
    ],
)
def test_a_product_that_cannot_be_stored_names_the_invalid_field(
    variant: dict[str, Any], reason: str, field: str
) -> None:
    sent = pb.Product(id="1", variants=[pb.Variant(**{"id": "11", "price_amount": "7.30", **variant})])
    with pytest.raises(RecordRejected) as caught:
        incoming(sent).unpack()
    issue = caught.value.issue
    assert (issue.reason, issue.field, issue.product_id, issue.product_rejected) == (reason, field, "1", True)


def test_an_offer_with_an_invalid_price_is_left_out_and_reported() -> None:
    level = pb.StockLevel(product_id="1", variant_id="1-1", available=True, offer=pb.Offer(price_amount="NaN"))
    batch = decode.batch(pb.ProductBatch(stock_levels=[level]), currency_code="EUR")
    assert (batch.stock_levels[0].available, batch.stock_levels[0].offer) == (True, None)
    (issue,) = batch.issues
    assert (issue.reason, issue.item_id, issue.product_rejected) == ("INVALID_PRICE", "1-1", False)
