"""The headers X-Platform and X-Shop-Domain, by which clients of the old service name their shop."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import web
from catalogsync.catalog.v1.catalog_service_pb2 import ShopRef
from catalogsync_client.reasons import ShopNotFound
from catalogsync_common.failure import FieldViolation

from catalogsync_bff.callers import Caller
from catalogsync_bff.errors import HttpError, invalid_request

PLATFORM_HEADER: Final = "X-Platform"
DOMAIN_HEADER: Final = "X-Shop-Domain"


def shop_of_headers(request: web.Request) -> ShopRef | None:
    """Return the shop that the headers of a request name; None: they name none.

    Raises:
        HttpError: 400: one of the headers is missing.
    """
    platform = request.headers.get(PLATFORM_HEADER, "").strip()
    domain = request.headers.get(DOMAIN_HEADER, "").strip()
    if not platform and not domain:
        return None
    if not platform or not domain:
        missing = DOMAIN_HEADER if platform else PLATFORM_HEADER
        raise invalid_request([FieldViolation(field=missing, description="is missing beside the other header")])
    if not (_is_plain(platform) and _is_plain(domain)):
        raise invalid_request(
            [FieldViolation(field=DOMAIN_HEADER, description="expected a platform and a domain")]
        )
    return ShopRef(platform=platform, domain=domain)


async def check_shop_headers(request: web.Request, caller: Caller) -> None:
    """Check that the shop of the headers, if there is one, is of the caller, and the one that the path names.

    Raises:
        HttpError: 400: the headers are malformed. 403: the shop is another one.
    """
    named = shop_of_headers(request)
    if named is None:
        return
    try:
        shop = (await caller.catalog.get_shop(named)).shop
    except ShopNotFound:
        raise _mismatch() from None
    if request.match_info.get("shop_id", shop.shop_id).lower() != shop.shop_id:
        raise _mismatch()


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text) <= 255


def _mismatch() -> HttpError:
    return HttpError(
        HTTPStatus.FORBIDDEN,
        "SHOP_MISMATCH",
        f"The shop that {PLATFORM_HEADER} and {DOMAIN_HEADER} name is not the shop of this request.",
    )
