"""Shops: their connection, counts and schedule."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import CatalogClient

from catalogsync_bff.callers import CALLER
from catalogsync_bff.envelope import data_response, page_response
from catalogsync_bff.errors import HttpError
from catalogsync_bff.json_form import Json, to_json
from catalogsync_bff.parameters import Parameters, body_of, query_of
from catalogsync_bff.routing import API, Operation, Route
from catalogsync_bff.schemas import list_of, ref
from catalogsync_bff.shop_headers import shop_of_headers

_MAX_PAGE_SIZE: Final = 500
_SECONDS: Final[Json] = {
    "type": ["integer", "null"],
    "minimum": 0,
    "maximum": 366 * 86_400,
    "description": "Seconds; 0: never; null: the default of the server.",
}
_UPDATE_BODY: Final[Json] = {
    "type": "object",
    "properties": {
        "display_name": {"type": ["string", "null"], "maxLength": 255},
        "incremental_interval": _SECONDS,
        "full_interval": _SECONDS,
        "paused": {"type": ["boolean", "null"]},
    },
    "additionalProperties": False,
    "minProperties": 1,
}
_PAGE_QUERY: Final[dict[str, Json]] = {
    "page_size": {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE_SIZE},
    "page_token": {"type": "string"},
}


class ShopRoutes:
    """Routes of shops."""

    def __init__(self, service: CatalogClient) -> None:
        """Create the routes.

        Args:
            service: the client of the BFF itself, which may change shops.
        """
        self._service = service

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        shop = f"{API}/shops/{{shop_id}}"
        return (
            Route(method="GET", path=f"{API}/shops", handler=self.list_shops, operation=_LIST),
            Route(method="GET", path=shop, handler=self.get_shop, operation=_GET),
            Route(method="PATCH", path=shop, handler=self.update_shop, operation=_UPDATE),
            Route(method="GET", path=f"{shop}/status", handler=self.get_status, operation=_STATUS),
            Route(method="GET", path=f"{API}/status", handler=self.get_only_status, operation=_ONLY_STATUS),
        )

    async def list_shops(self, request: web.Request) -> web.Response:
        """List the shops of the caller."""
        query = query_of(request, "page_size", "page_token")
        page_size, page_token = query.integer("page_size", most=_MAX_PAGE_SIZE), query.text("page_token")
        query.check()
        page = await request[CALLER].catalog.list_shops(
            pb.ListShopsRequest(page_size=page_size, page_token=page_token)
        )
        shops = [to_json(shop) for shop in page.shops]
        return page_response(request, shops, next_page_token=page.next_page_token, page_size=page_size)

    async def get_shop(self, request: web.Request) -> web.Response:
        """Return one shop."""
        query_of(request).check()
        return data_response(request, to_json(await request[CALLER].catalog.get_shop(shop_ref(request))))

    async def get_status(self, request: web.Request) -> web.Response:
        """Return the counts, the freshness and the last syncs of a shop."""
        query_of(request).check()
        return data_response(request, to_json(await request[CALLER].catalog.get_status(shop_ref(request))))

    async def get_only_status(self, request: web.Request) -> web.Response:
        """Return the status of the shop that the headers name, or else of the caller's only shop."""
        query_of(request).check()
        status = await request[CALLER].catalog.get_status(await implied_shop(request))
        return data_response(request, to_json(status))

    async def update_shop(self, request: web.Request) -> web.Response:
        """Change the name or the schedule of a shop."""
        query_of(request).check()
        update = _update_of(await body_of(request, *_UPDATE_BODY["properties"]))
        caller, ref_ = request[CALLER], shop_ref(request)
        update.shop.CopyFrom(ref_)
        if caller.session is None:
            # The token decides: catalog_svc permits this to operators.
            return data_response(request, to_json(await caller.catalog.update_shop(update)))
        if not caller.may_manage:
            raise HttpError(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", "This session may not change shops.")
        # Clients may not change shops: the BFF does it, once it is clear that the shop is the caller's.
        update.shop.shop_id = (await caller.catalog.get_shop(ref_)).shop.shop_id
        return data_response(request, to_json(await self._service.update_shop(update)))


def shop_ref(request: web.Request) -> pb.ShopRef:
    """Return the shop of a path."""
    return pb.ShopRef(shop_id=request.match_info["shop_id"])


async def implied_shop(request: web.Request) -> pb.ShopRef:
    """Return the shop of a request that names none in its path: that of the headers, or the caller's only one.

    Raises:
        HttpError: 400: the caller has several shops, or none.
    """
    named = shop_of_headers(request)
    if named is not None:
        return named
    page = await request[CALLER].catalog.list_shops(pb.ListShopsRequest(page_size=2))
    if len(page.shops) != 1:
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            "SHOP_REQUIRED",
            "Name the shop by the headers X-Platform and X-Shop-Domain: there is not exactly one.",
        )
    return pb.ShopRef(shop_id=page.shops[0].shop.shop_id)


def _update_of(body: Parameters) -> pb.UpdateShopRequest:
    request = pb.UpdateShopRequest()
    # Present even if every field that is named is reset.
    request.update.SetInParent()
    if body.has("display_name"):
        request.update.display_name = body.text("display_name")
        request.update_mask.paths.append("display_name")
    if body.has("paused"):
        request.update.paused = body.boolean("paused")
        request.update_mask.paths.append("paused")
    for name in ("incremental_interval", "full_interval"):
        if body.has(name):
            interval = body.interval(name)
            if interval is not None:
                getattr(request.update, name).FromTimedelta(interval)
            request.update_mask.paths.append(name)
    if not request.update_mask.paths:
        body.reject("body", "names no field to change")
    body.check()
    return request


_LIST: Final = Operation(
    operation_id="listShops",
    summary="List the shops of the caller.",
    query=_PAGE_QUERY,
    response=list_of("ShopDetails"),
    paged=True,
)
_GET: Final = Operation(
    operation_id="getShop",
    summary="Return a shop with its connection and its schedule.",
    response=ref("ShopDetails"),
    errors=(404,),
)
_UPDATE: Final = Operation(
    operation_id="updateShop",
    summary="Change the name or the schedule of a shop.",
    body=_UPDATE_BODY,
    response=ref("ShopDetails"),
    errors=(404, 409, 415),
)
_STATUS: Final = Operation(
    operation_id="getShopStatus",
    summary="Return the counts, the freshness and the last syncs of a shop.",
    response=ref("ShopStatus"),
    errors=(404,),
)
_ONLY_STATUS: Final = Operation(
    operation_id="getStatus",
    summary="Return the status of the shop that the headers name, or else of the caller's only shop.",
    response=ref("ShopStatus"),
    errors=(404,),
)
