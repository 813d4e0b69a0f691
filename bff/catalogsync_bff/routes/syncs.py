"""Syncs: start, list, cancel and resume them, and the records that they rejected."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from catalogsync_bff.callers import CALLER
from catalogsync_bff.envelope import data_response, page_response
from catalogsync_bff.json_form import Json, to_json
from catalogsync_bff.parameters import Parameters, body_of, query_of
from catalogsync_bff.routes.shops import implied_shop
from catalogsync_bff.routing import API, Operation, Route
from catalogsync_bff.schemas import list_of, ref
from catalogsync_bff.shop_headers import shop_of_headers

IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
_MAX_PAGE_SIZE: Final = 500
_PAGE_QUERY: Final[dict[str, Json]] = {
    "page_size": {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE_SIZE},
    "page_token": {"type": "string"},
}
_STATES: Final = [name.removeprefix("STATE_") for name, number in pb.Sync.State.items() if number]
_UUID: Final[Json] = {"type": "string", "format": "uuid"}
_START_BODY: Final[Json] = {
    "type": "object",
    "properties": {
        "shop_id": _UUID,
        "platform": {"type": "string", "maxLength": 64},
        "domain": {"type": "string", "maxLength": 253},
        "mode": {"enum": ["FULL", "INCREMENTAL", None]},
        "allow_mass_delete": {"type": "boolean"},
        "request_id": _UUID,
    },
    "additionalProperties": False,
}
_RESUME_BODY: Final[Json] = {
    "type": "object",
    "properties": {"request_id": _UUID},
    "additionalProperties": False,
}


class SyncRoutes:
    """Routes of syncs."""

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        sync = f"{API}/sync/{{sync_id}}"
        return (
            Route(
                method="POST",
                path=f"{API}/sync",
                handler=self.start,
                operation=_START,
                # The first sync of a shop registers it.
                checks_shop_headers=False,
            ),
            Route(method="GET", path=f"{API}/sync", handler=self.list_syncs, operation=_LIST),
            Route(method="GET", path=sync, handler=self.get, operation=_GET),
            Route(method="POST", path=f"{sync}/cancel", handler=self.cancel, operation=_CANCEL),
            Route(method="POST", path=f"{sync}/resume", handler=self.resume, operation=_RESUME),
            Route(method="GET", path=f"{sync}/issues", handler=self.list_issues, operation=_ISSUES),
        )

    async def start(self, request: web.Request) -> web.Response:
        """Start a sync of the shop in the body, or else in the headers."""
        query_of(request).check()
        body = await body_of(request, *_START_BODY["properties"])
        shop = _shop_of(request, body)
        mode = body.enum("mode", pb.Sync.Mode.DESCRIPTOR)
        allow_mass_delete, request_id = body.boolean("allow_mass_delete"), _request_id(request, body)
        body.check()
        sync = await request[CALLER].catalog.start_sync(
            shop,
            mode=pb.Sync.Mode.ValueType(mode),
            request_id=request_id,
            allow_mass_delete=allow_mass_delete,
        )
        return _created(request, sync)

    async def list_syncs(self, request: web.Request) -> web.Response:
        """List the syncs of a shop, newest first; of all shops if the caller sees all of them."""
        query = query_of(request, "shop_id", "page_size", "page_token", repeated=("state",))
        message = pb.ListSyncsRequest(
            states=[pb.Sync.State.ValueType(one) for one in query.enums("state", pb.Sync.State.DESCRIPTOR)],
            page_size=query.integer("page_size", most=_MAX_PAGE_SIZE),
            page_token=query.text("page_token"),
        )
        if query.has("shop_id"):
            message.shop.shop_id = query.text("shop_id")
        query.check()
        if not message.HasField("shop") and not request[CALLER].sees_all_shops:
            # The catalog lists the syncs of one shop at a time for clients.
            message.shop.CopyFrom(await implied_shop(request))
        page = await request[CALLER].catalog.list_syncs(message)
        syncs = [to_json(sync) for sync in page.syncs]
        return page_response(request, syncs, next_page_token=page.next_page_token, page_size=message.page_size)

    async def get(self, request: web.Request) -> web.Response:
        """Return a sync."""
        query_of(request).check()
        return data_response(request, to_json(await request[CALLER].catalog.get_sync(sync_id_of(request))))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a sync."""
        query_of(request).check()
        (await body_of(request)).check()
        return data_response(request, to_json(await request[CALLER].catalog.cancel_sync(sync_id_of(request))))

    async def resume(self, request: web.Request) -> web.Response:
        """Continue an ended sync from its checkpoint, as a new sync."""
        query_of(request).check()
        body = await body_of(request, "request_id")
        request_id = _request_id(request, body)
        body.check()
        sync = await request[CALLER].catalog.resume_sync(sync_id_of(request), request_id=request_id)
        return _created(request, sync)

    async def list_issues(self, request: web.Request) -> web.Response:
        """List the records that a sync rejected."""
        query = query_of(request, "page_size", "page_token")
        message = pb.ListSyncIssuesRequest(
            sync_id=sync_id_of(request),
            page_size=query.integer("page_size", most=_MAX_PAGE_SIZE),
            page_token=query.text("page_token"),
        )
        query.check()
        page = await request[CALLER].catalog.list_issues(message)
        issues = [to_json(issue) for issue in page.issues]
        return page_response(request, issues, next_page_token=page.next_page_token, page_size=message.page_size)


def sync_id_of(request: web.Request) -> str:
    """Return the sync of a path."""
    return request.match_info["sync_id"]


def _shop_of(request: web.Request, body: Parameters) -> pb.ShopRef:
    shop = pb.ShopRef(shop_id=body.text("shop_id"), platform=body.text("platform"), domain=body.text("domain"))
    named = shop_of_headers(request)
    if named is None:
        return shop
    if not (shop.shop_id or shop.platform or shop.domain):
        return named
    if shop.shop_id or (shop.platform.lower(), shop.domain.lower()) != (
        named.platform.lower(),
        named.domain.lower(),
    ):
        body.reject("shop_id", "names a shop besides that of the headers X-Platform and X-Shop-Domain")
    return shop


def _request_id(request: web.Request, body: Parameters) -> str:
    """Return the idempotency key: a field of the body, or the header."""
    given = body.text("request_id")
    header = request.headers.get(IDEMPOTENCY_HEADER, "").strip()
    if given and header and given.lower() != header.lower():
        body.reject("request_id", f"differs from the header {IDEMPOTENCY_HEADER}")
    if not (header.isascii() and header.isprintable()):
        body.reject(IDEMPOTENCY_HEADER, "expected a UUID")
    return given or header


def _created(request: web.Request, sync: pb.Sync) -> web.Response:
    headers = {"Location": f"{API}/sync/{sync.sync_id}"}
    return data_response(request, to_json(sync), status=HTTPStatus.CREATED, headers=headers)


_START: Final = Operation(
    operation_id="startSync",
    summary="Start a sync of the shop in the body, or else in the headers.",
    body=_START_BODY,
    response=ref("Sync"),
    status=201,
    errors=(404, 409, 415, 422),
)
_LIST: Final = Operation(
    operation_id="listSyncs",
    summary="List the syncs of a shop, newest first: of the named one, or of the caller's only one.",
    query={
        "shop_id": _UUID,
        "state": {"type": "array", "items": {"enum": _STATES}},
        **_PAGE_QUERY,
    },
    response=list_of("Sync"),
    paged=True,
    errors=(404,),
)
_GET: Final = Operation(operation_id="getSync", summary="Return a sync.", response=ref("Sync"), errors=(404,))
_CANCEL: Final = Operation(
    operation_id="cancelSync",
    summary="Cancel a sync. Stored data stays.",
    response=ref("Sync"),
    errors=(404, 409, 415),
)
_RESUME: Final = Operation(
    operation_id="resumeSync",
    summary="Continue an ended sync from its checkpoint, as a new sync.",
    body=_RESUME_BODY,
    response=ref("Sync"),
    status=201,
    errors=(404, 409, 415, 422),
)
_ISSUES: Final = Operation(
    operation_id="listSyncIssues",
    summary="List the records that a sync rejected, in the order in which they were read.",
    query=_PAGE_QUERY,
    response=list_of("SyncIssue"),
    paged=True,
    errors=(404,),
)
