"""Saying how often a shop is synced without being asked."""

from __future__ import annotations

from catalog_svc.domain.schedule import ScheduleChange, ScheduleDefaults, ShopSchedule
from catalog_svc.domain.shop import ShopKey
from catalog_svc.usecases.ports import Schedules
from catalog_svc.usecases.read_catalog import ReadCatalog


class SetSchedule:
    """Changes a registered shop's schedule."""

    def __init__(self, *, read: ReadCatalog, schedules: Schedules, defaults: ScheduleDefaults) -> None:
        self._read = read
        self._schedules = schedules
        self._defaults = defaults

    async def __call__(self, key: ShopKey, change: ScheduleChange) -> ShopSchedule:
        """What is in effect now. Raises ShopNotFound."""
        shop = await self._read.shop(key)
        await self._schedules.change(shop, change, self._defaults)
        return await self._read.schedule(key)
