"""Times lose nothing as messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from catalogsync_common.timestamps import fill_time
from google.protobuf.timestamp_pb2 import Timestamp


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 11, 1, 12, 0, tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_times_are_exact_to_the_microsecond(moment: datetime) -> None:
    ours, theirs = Timestamp(), Timestamp()
    fill_time(ours, moment)
    theirs.FromDatetime(moment)
    assert ours == theirs
