"""The window of an incremental pass, in a store's own filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from connector_svc.platforms.woocommerce.product_pager import since


@pytest.mark.parametrize(
    ("moment", "sent"),
    [
        (datetime.min.replace(tzinfo=UTC), "1970-01-01T23:59:59"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "1970-01-01T23:59:59"),
        (datetime(2026, 1, 10, 12, tzinfo=timezone(timedelta(hours=1))), "2026-01-10T10:59:59"),
    ],
)
def test_a_window_begins_a_second_early_and_never_before_stores_can_tell(moment: datetime, sent: str) -> None:
    assert dict(since(moment)) == {"modified_after": sent, "dates_are_gmt": "true"}
