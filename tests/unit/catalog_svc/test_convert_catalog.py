"""Products and items are sent with every field of the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from google.protobuf.message import Message

from catalog_svc.domain.analysis import AnalysisState, AnalysisSummary, ItemAnalysis
from catalog_svc.domain.catalog_reads import Item, Product
from catalog_svc.rpc import convert_catalog

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ITEM = Item(
    item_id="11",
    product_id="1",
    position=2,
    title="M",
    sku="S",
    barcode="400",
    currency_code="EUR",
    price=Decimal("7.30"),
    compare_at_price=Decimal("9.00"),
    stock_quantity=0,
    available=True,
    sellable_without_stock=True,
    options=(("Size", "M"),),
    image_url="https://cdn.example/1.jpg",
    weight=Decimal("0.250"),
    weight_unit="kg",
    source_updated_at=NOW,
    feed_position=7,
    created_at=NOW,
    updated_at=NOW,
    deleted_at=NOW,
    product_title="Shirt",
    product_status="ACTIVE",
    product_url="https://shop.example/shirt",
    vendor="Acme",
    product_type="Tops",
    analysis=ItemAnalysis(
        state=AnalysisState.ANALYZED,
        results=(
            AnalysisSummary(
                analyzer="quality",
                model_version="2",
                category="Shirts",
                subcategory="T-Shirts",
                quality_score=Decimal("0.50"),
                confidence_score=Decimal("0.9"),
                analyzed_at=NOW,
            ),
        ),
    ),
)
PRODUCT = Product(
    product_id="1",
    title="Shirt",
    handle="shirt",
    description_html="<p>Warm</p>",
    vendor="Acme",
    product_type="Tops",
    tags=("new",),
    status="ACTIVE",
    url="https://shop.example/shirt",
    options=(("Size", ["S", "M"]),),
    images=({"id": "i", "url": "https://cdn.example/1.jpg", "alt_text": "Front", "width": 8, "height": 6},),
    source_created_at=NOW,
    source_updated_at=NOW,
    created_at=NOW,
    updated_at=NOW,
    deleted_at=NOW,
    items=(ITEM,),
)


def unset_fields(message: Message) -> set[str]:
    """Return the names of the fields that are not set, those of nested messages included."""
    unset = {field.full_name for field in message.DESCRIPTOR.fields} - {
        field.full_name for field, _ in message.ListFields()
    }
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.full_name.startswith("google."):
            for nested in value if field.is_repeated else (value,):
                unset |= unset_fields(nested)
    return unset


def test_every_field_of_a_product_and_of_its_items_is_sent() -> None:
    assert unset_fields(convert_catalog.product(PRODUCT)) == set()


def test_a_price_keeps_the_digits_of_the_platform() -> None:
    message = convert_catalog.item(ITEM)
    assert (message.price.amount, message.price.currency_code, message.weight) == ("7.30", "EUR", "0.250")


def test_what_is_unknown_is_absent() -> None:
    message = convert_catalog.item(ITEM._replace(price=None, stock_quantity=None, weight=None, deleted_at=None))
    for name in ("price", "stock_quantity", "delete_time"):
        assert not message.HasField(name)
    assert message.weight == ""
