"""The JSON of BigCommerce checkpoints, which other releases wrote or must be able to read."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from connector_svc.domain.checkpoint import PassCounts
from connector_svc.platforms.bigcommerce.batch_builder import Position

STORED = (
    b'{"watermark":"2026-11-20T12:00:00Z","last_id":7,"counts":{"emitted":3,"emitted_items":5,"rejected":2},'
    b'"passed_by":4,"nameless":1,"unlisted":6,"default_stock":8,"currency":"USD","estimated_products":9,'
    b'"estimated_items":10}'
)


def test_a_stored_position_keeps_its_field_names() -> None:
    position = Position(
        watermark=datetime(2026, 11, 20, 12, tzinfo=UTC),
        last_id=7,
        counts=PassCounts(emitted=3, emitted_items=5, rejected=2),
        unchanged=4,
        missing_id=1,
        unlisted=6,
        default_stock=8,
        currency="USD",
        estimated_products=9,
        estimated_items=10,
    )
    assert msgspec.json.encode(position) == STORED
    assert msgspec.json.decode(STORED, type=Position) == position


def test_a_position_of_an_older_release_without_the_later_fields_is_read() -> None:
    stored = b'{"watermark":"2026-11-20T12:00:00Z","last_id":7,"counts":{"emitted":3},"passed_by":4,"nameless":1}'
    position = msgspec.json.decode(stored, type=Position)
    assert (position.seen, position.missing_id, position.unlisted, position.currency) == (7, 1, 0, "")
    assert (position.estimated_products, position.estimated_items) == (None, None)
