"""The lines that examples/python-client prints."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

ROOT = Path(__file__).parents[3]


def example() -> ModuleType:
    """Import examples/python-client/follow.py."""
    spec = spec_from_file_location("follow", ROOT / "examples/python-client/follow.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


follow = example()


def ended(mode: pb.Sync.Mode.ValueType, **progress: Any) -> pb.Sync:
    sync = pb.Sync(state=pb.Sync.STATE_SUCCEEDED, mode=mode, progress=pb.Progress(**progress))
    sync.changes_since_time.FromDatetime(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    return sync


@pytest.mark.parametrize(
    ("sync", "text"),
    [
        (
            ended(pb.Sync.MODE_INCREMENTAL, products=pb.RecordCounts(seen_count=3), checked_product_count=1200),
            "nothing changed since 2026-11-20 12:00:00Z, 3 products compared, 1200 products checked",
        ),
        (
            ended(pb.Sync.MODE_INCREMENTAL),
            "nothing changed since 2026-11-20 12:00:00Z, 0 products compared",
        ),
        (
            ended(pb.Sync.MODE_INCREMENTAL, items=pb.RecordCounts(rejected_count=1)),
            "0 changed items read, 1 records rejected",
        ),
        (
            ended(
                pb.Sync.MODE_FULL,
                items=pb.RecordCounts(seen_count=98, created_count=98, rejected_count=2),
                estimated_item_count=100,
            ),
            "98 items read, 2 records rejected",
        ),
    ],
)
def test_a_line_of_an_ended_sync_says_what_it_did_and_shows_no_estimate(sync: pb.Sync, text: str) -> None:
    assert follow.line(sync) == f"STATE_SUCCEEDED: {text}"
