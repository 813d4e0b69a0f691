"""What a caller, or a schedule, orders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import SyncMode, SyncTrigger


@dataclass(frozen=True, kw_only=True, slots=True)
class StartSyncCommand:
    """A sync to be started."""

    shop: ShopKey
    mode: SyncMode
    """INCREMENTAL becomes FULL for a shop that was never complete."""
    overlap: timedelta
    """How far before the watermark an incremental pass begins."""
    trigger: SyncTrigger = SyncTrigger.REQUEST
    request_id: str = ""
    """Empty: the order cannot be repeated."""
    allow_mass_delete: bool = False
    correlation_id: str = ""
