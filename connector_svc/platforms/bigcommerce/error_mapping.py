"""Error mapping: HTTP statuses to SourceFailure, and defects of single records to Fault.

Every message about a record of BigCommerce is written here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from connector_svc.domain.errors import (
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from connector_svc.domain.records import SAMPLE_LENGTH, Fault, IssueReason, is_too_long
from connector_svc.domain.shop import Shop
from connector_svc.platforms.bigcommerce.wire import PRICE_FIELDS

_STORE_SCOPE: Final = "store_v2_information_read_only"
_PRODUCT_SCOPE: Final = "store_v2_products_read_only"
INVENTORY_SCOPE: Final = "store_inventory_read_only"


def error_for_status(shop: Shop, status: int, path: str) -> SourceFailure:
    """Return the failure for a reply from `path` whose status is not 200.

    | Status | Failure |
    |---|---|
    | 401 | SourceUnauthorized |
    | 403 | SourceForbidden, which names the scope that `path` needs |
    | 404, 410 | SourceNotFound |
    | 400, 405, 409, 414, 422 | SourceQueryRefused |
    | 500 and above | SourceUnreachable: 507, 509 and others that the HTTP client does not retry |
    | anything else | SourceResponseInvalid |
    """
    match status:
        case 401:
            return SourceUnauthorized(shop, "BigCommerce does not accept the access token for this store")
        case 403:
            scope = _required_scope(path)
            return SourceForbidden(shop, f"the API account needs the scope {scope}", missing=scope)
        case 404 | 410:
            return SourceNotFound(shop, "BigCommerce has no store with this hash")
        case 400 | 405 | 409 | 414 | 422:
            return SourceQueryRefused(shop, f"HTTP {status}")
        case _ if status >= 500:
            return SourceUnreachable(shop, f"HTTP {status}")
        case _:
            return SourceResponseInvalid(shop, f"HTTP {status}", http_status=str(status))


def _required_scope(path: str) -> str:
    if path.endswith("/v2/store"):
        return _STORE_SCOPE
    return INVENTORY_SCOPE if path.startswith("/v3/inventory/") else _PRODUCT_SCOPE


def missing_field(name: str) -> Fault:
    """Describe a required field that the store did not send."""
    reason = IssueReason.MISSING_ID if name == "id" else IssueReason.MISSING_FIELD
    return Fault(reason=reason, field=name, message=f'The store did not send "{name}".')


def invalid_field(name: str, raw: msgspec.Raw, error: Exception | None = None) -> Fault:
    """Describe a field whose value does not have its type; `error` is what decoding it raised."""
    if name == "id":
        reason = IssueReason.MISSING_ID
    elif error is not None and is_too_long(error):
        reason = IssueReason.TOO_LARGE
    else:
        reason = IssueReason.INVALID_PRICE if name in PRICE_FIELDS else IssueReason.INVALID_FIELD
    return Fault(reason=reason, field=name, message=f'"{name}" has an invalid value.', sample=sample(raw))


def not_a_record(raw: msgspec.Raw) -> Fault:
    """Describe an entry of a list that is not a JSON object."""
    return Fault(
        reason=IssueReason.MISSING_ID, message="The store sent something that is not a record.", sample=sample(raw)
    )


def invalid_price(name: str, value: object) -> Fault:
    """Describe a price that is negative, not finite, or has too many digits."""
    return Fault(
        reason=IssueReason.INVALID_PRICE,
        field=name,
        message=f'"{name}" is not an amount of money of at least zero.',
        sample=str(value)[:SAMPLE_LENGTH],
    )


def unknown_value(name: str, value: str) -> Fault:
    """Describe a value of an enumeration that BigCommerce's API reference does not have."""
    return Fault(
        reason=IssueReason.INVALID_FIELD,
        field=name,
        message=f'"{name}" has an unknown value: the variants are not marked as available.',
        sample=value[:SAMPLE_LENGTH],
    )


def unlisted_product() -> Fault:
    """Describe a product that the store counts and never lists."""
    return Fault(
        reason=IssueReason.SOURCE_ERROR,
        message="The store counts a product here but did not list it in two requests.",
    )


def unreadable_product() -> Fault:
    """Describe a product whose response cannot be accepted even alone: too large, or nested too deeply."""
    return Fault(
        reason=IssueReason.SOURCE_ERROR,
        message="The store's response cannot be accepted even for this product alone.",
    )


def incomplete_variants(received: int, counted: int) -> Fault:
    """Describe a product with fewer variants than the store counts, also in its own variant list."""
    return Fault(
        reason=IssueReason.INCOMPLETE_VARIANTS,
        field="variants",
        message=f"The store lists {received} variants of this product but counts {counted}.",
        sample=str(counted),
    )


def orphan_variant(owner: int) -> Fault:
    """Describe a variant that is listed under another product than its `product_id`."""
    return Fault(
        reason=IssueReason.ORPHAN_VARIANT,
        field="product_id",
        message="The variant belongs to another product than the one that lists it.",
        sample=str(owner)[:SAMPLE_LENGTH],
    )


def duplicate_id() -> Fault:
    """Describe a record whose id was delivered before."""
    return Fault(
        reason=IssueReason.DUPLICATE_ID, field="id", message="The id occurs twice; the first record is kept."
    )


def sample(raw: msgspec.Raw) -> str:
    """Return the first SAMPLE_LENGTH characters of a raw value."""
    return bytes(raw)[: SAMPLE_LENGTH * 4].decode(errors="replace")[:SAMPLE_LENGTH]
