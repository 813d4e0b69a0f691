"""The part of a catalog that a pass covers, in the store's own filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connector_svc.platforms.woocommerce.client import Params

_SECOND = timedelta(seconds=1)
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
"""Before all products; stores take no years of less than four digits."""
_GMT = ("dates_are_gmt", "true")


def since(moment: datetime | None) -> Params:
    """Everything modified at `moment` or later; None: everything.

    Stores compare whole seconds and exclude the bound, hence a second earlier. The zone must be left out: with
    it a store takes the time for its own, and misses hours of changes.
    """
    if moment is None:
        return ()
    return (("modified_after", _naive(max(moment, _EARLIEST) - _SECOND)), _GMT)


def _naive(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
