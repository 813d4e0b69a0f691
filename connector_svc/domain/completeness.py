"""How many products a platform may count and not deliver before a pass counts as incomplete."""

from __future__ import annotations

from typing import Final

from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.domain.shop import Shop

_ALWAYS_TOLERATED: Final = 5
_TOLERATED_PERCENT: Final = 10


def check_undelivered(shop: Shop, *, counted: int, undelivered: int) -> None:
    """Raise SourceCountMismatch when a platform counts too many products that it does not deliver.

    A few are products that a plugin hides or breaks: the pass names them, lets nothing be deleted, and ends. More
    than five and a tenth of all are a platform that does not deliver its catalog.
    """
    if undelivered > max(_ALWAYS_TOLERATED, counted * _TOLERATED_PERCENT // 100):
        raise SourceCountMismatch(shop, expected=counted, received=counted - undelivered)
