from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2
from catalogsync.types.v1 import product_pb2
from catalogsync_common.logs import redact
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from connector_svc.domain.fetch import Offer, StockLevel, WaitReason
from connector_svc.domain.product import (
    Image,
    InventoryPolicy,
    Product,
    ProductOption,
    ProductStatus,
    SelectedOption,
    Variant,
)
from connector_svc.domain.records import IssueReason, RecordIssue
from connector_svc.rpc.convert import fill_product, issue_message, stock_level_message

MOMENT = datetime(2026, 11, 1, 12, 0, 5, 123456, tzinfo=UTC)
IMAGE = Image(
    url="https://cdn.example/a.png",
    id="i1",
    alt_text="front",
    width=800,
    height=600,
    version="2026-11-01T12:00:05",
)
VARIANT = Variant(
    id="v1",
    title="L / Red",
    sku="000134",
    barcode="0400",
    price=Decimal("7.30"),
    compare_at_price=Decimal("9.00"),
    stock_quantity=-2,
    inventory_policy=InventoryPolicy.DENY,
    available=True,
    options=(SelectedOption(name="Size", value="L"),),
    image=IMAGE,
    weight=Decimal("0.50"),
    weight_unit="kg",
    position=3,
    created_at=MOMENT,
    updated_at=MOMENT,
)
PRODUCT = Product(
    id="p1",
    title="Sweater & more",
    handle="sweater",
    description_html="<p>x</p>",
    vendor="Acme",
    product_type="Knit",
    tags=("a", "b"),
    status=ProductStatus.ARCHIVED,
    url="https://store.example/p/sweater",
    options=(ProductOption(name="Size", values=("S", "L")),),
    images=(IMAGE,),
    created_at=MOMENT,
    updated_at=MOMENT,
    variants=(VARIANT,),
)


def converted(product: Product) -> pb.Product:
    message = pb.Product()
    fill_product(message, product)
    return message


def empty_fields(message: Message) -> set[str]:
    """Return the fields of the message, and of the messages in it, that were not filled."""
    filled = {field.name: value for field, value in message.ListFields()}
    empty = {field.name for field in message.DESCRIPTOR.fields} - set(filled)
    for name, value in filled.items():
        # Containers of messages have no __iter__, only the older protocol.
        parts = list(value) if hasattr(value, "__getitem__") else [value]
        for part in parts:
            if isinstance(part, Message) and not isinstance(part, Timestamp):
                empty |= {f"{name}.{inner}" for inner in empty_fields(part)}
    return empty


def test_every_field_of_the_contract_is_filled() -> None:
    assert empty_fields(converted(PRODUCT)) == set()


def test_every_value_is_converted_unchanged() -> None:
    message = converted(PRODUCT)
    variant = message.variants[0]
    assert (message.id, message.title, list(message.tags)) == ("p1", "Sweater & more", ["a", "b"])
    assert (variant.price_amount, variant.compare_at_price_amount, variant.weight) == ("7.30", "9.00", "0.50")
    assert (variant.sku, variant.stock_quantity, variant.position) == ("000134", -2, 3)
    assert variant.image.width == 800
    assert variant.image.version == "2026-11-01T12:00:05"
    assert [(option.name, list(option.values)) for option in message.options] == [("Size", ["S", "L"])]
    assert message.update_time.ToDatetime(UTC) == MOMENT


def test_unknown_values_stay_absent_instead_of_becoming_zero() -> None:
    message = converted(Product(id="p", title="", variants=(Variant(id="v"),)))
    filled = {field.name for field, _ in message.variants[0].ListFields()}
    assert filled == {"id", "position"}
    assert not message.HasField("create_time")


@pytest.mark.parametrize("text", ["7.30", "0.00", "1000000000000.10", "0.0000001", "100"])
def test_a_price_keeps_its_digits(text: str) -> None:
    variant = Variant(id="v", price=Decimal(text))
    assert converted(Product(id="p", title="", variants=(variant,))).variants[0].price_amount == text


def test_a_price_in_exponent_form_is_written_without_exponent() -> None:
    variant = Variant(id="v", price=Decimal("1E+3"))
    assert converted(Product(id="p", title="", variants=(variant,))).variants[0].price_amount == "1000"
    offer = Offer(sku="", price=Decimal("1E+3"), compare_at_price=Decimal("1E-7"))
    level = stock_level_message(
        StockLevel(product_id="p", variant_id="v", stock_quantity=None, available=True, offer=offer)
    )
    assert (level.offer.price_amount, level.offer.compare_at_price_amount) == ("1000", "0.0000001")


def test_every_status_policy_reason_and_wait_has_its_own_name_in_the_contract() -> None:
    statuses = {
        status: product_pb2.ProductStatus.Name(converted(Product(id="p", title="", status=status)).status)
        for status in ProductStatus
    }
    assert statuses == {status: f"PRODUCT_STATUS_{status.name}" for status in ProductStatus}
    assert len(product_pb2.ProductStatus.keys()) == len(ProductStatus) + 1
    assert {f"ISSUE_REASON_{reason.name}" for reason in IssueReason} | {"ISSUE_REASON_UNSPECIFIED"} == set(
        issue_reason_pb2.IssueReason.keys()
    )
    assert {f"REASON_{reason.name}" for reason in WaitReason} | {"REASON_UNSPECIFIED"} == set(
        pb.Waiting.Reason.keys()
    )


def test_issues_are_sent_cut_and_without_secrets() -> None:
    issue = RecordIssue(
        reason=IssueReason.INVALID_PRICE,
        message="consumer_secret=cs_0123456789abcdef is no price",
        product_id="p",
        variant_id="v",
        field="price",
        sample="ck_" + "a" * 40 + "x " * 500,
        product_rejected=True,
    )
    message = issue_message(issue, redact)
    assert empty_fields(message) == set()
    assert "cs_0123" not in message.message
    assert message.sample.startswith("***")
    assert len(message.sample) == 200


def test_a_secret_is_redacted_before_a_sample_is_cut() -> None:
    """If it were cut first, half of the secret would be left, which no pattern recognizes."""
    sample = "x" * 190 + " Bearer abcdefghijklmnop"
    message = issue_message(RecordIssue(reason=IssueReason.SOURCE_ERROR, message="", sample=sample), redact)
    assert "abc" not in message.sample
