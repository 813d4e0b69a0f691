"""What a status other than 200 means."""

from __future__ import annotations

from typing import Final

from connector_svc.domain.errors import (
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from connector_svc.domain.shop import Shop

_STORE_SCOPE: Final = "store_v2_information_read_only"
_PRODUCT_SCOPE: Final = "store_v2_products_read_only"
INVENTORY_SCOPE: Final = "store_inventory_read_only"


def refusal(shop: Shop, status: int, path: str) -> SourceFailure:
    """The failure for a reply from `path` that is no success."""
    match status:
        case 401:
            return SourceUnauthorized(shop, "BigCommerce does not know the access token for this store")
        case 403:
            scope = _scope(path)
            return SourceForbidden(shop, f"the API account needs the scope {scope}", missing=scope)
        case 404 | 410:
            return SourceNotFound(shop, "BigCommerce has no store of that hash")
        case 400 | 405 | 409 | 414 | 422:
            return SourceQueryRefused(shop, f"HTTP {status}")
        case _ if status >= 500:
            # Such as 507 and 509; the usual ones were tried again before.
            return SourceUnreachable(shop, f"HTTP {status}")
        case _:
            return SourceResponseInvalid(shop, f"HTTP {status}", http_status=str(status))


def _scope(path: str) -> str:
    """What a token needs to read `path`."""
    if path.endswith("/v2/store"):
        return _STORE_SCOPE
    return INVENTORY_SCOPE if path.startswith("/v3/inventory/") else _PRODUCT_SCOPE
