"""Items and products of a shop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.analysis_pb2 import AnalysisState

from catalogsync_bff.callers import CALLER
from catalogsync_bff.envelope import data_response, page_response
from catalogsync_bff.images.addresses import ImageAddresses
from catalogsync_bff.json_form import Json, to_json
from catalogsync_bff.parameters import query_of
from catalogsync_bff.routes.shops import shop_ref
from catalogsync_bff.routing import API, Operation, Route
from catalogsync_bff.schemas import list_of, ref

_MAX_ITEMS: Final = 1_000
_MAX_PRODUCTS: Final = 250


class CatalogRoutes:
    """Routes of items and products.

    Args:
        addresses: gets the image addresses of what is listed.
    """

    def __init__(self, addresses: ImageAddresses) -> None:
        self._addresses = addresses

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        shop = f"{API}/shops/{{shop_id}}"
        return (
            Route(method="GET", path=f"{shop}/items", handler=self.list_items, operation=_ITEMS),
            Route(method="GET", path=f"{shop}/items/{{item_id}}", handler=self.get_item, operation=_ITEM),
            Route(
                method="GET",
                path=f"{shop}/items/{{item_id}}/analysis",
                handler=self.get_analysis,
                operation=_ANALYSIS,
            ),
            Route(method="GET", path=f"{shop}/products", handler=self.list_products, operation=_PRODUCTS),
            Route(
                method="GET", path=f"{shop}/products/{{product_id}}", handler=self.get_product, operation=_PRODUCT
            ),
        )

    async def list_items(self, request: web.Request) -> web.Response:
        """List the items of a shop."""
        query = query_of(request, *_ITEMS.query)
        state = query.enum("analysis_state", AnalysisState.DESCRIPTOR)
        message = pb.ListItemsRequest(
            shop=shop_ref(request),
            text=query.text("text"),
            sku=query.text("sku"),
            product_id=query.text("product_id"),
            include_deleted=query.boolean("include_deleted"),
            analysis_state=AnalysisState.ValueType(state),
            page_size=query.integer("page_size", most=_MAX_ITEMS),
            page_token=query.text("page_token"),
        )
        query.check()
        caller = request[CALLER]
        page = await caller.catalog.list_items(message)
        shop_id = message.shop.shop_id
        self._addresses.remember(
            ((caller.subject, shop_id, "items", item.item_id), item.image_url) for item in page.items
        )
        items = [to_json(item) for item in page.items]
        return page_response(request, items, next_page_token=page.next_page_token, page_size=message.page_size)

    async def get_item(self, request: web.Request) -> web.Response:
        """Return an item."""
        query_of(request).check()
        item = await request[CALLER].catalog.get_item(shop_ref(request), request.match_info["item_id"])
        return data_response(request, to_json(item))

    async def get_analysis(self, request: web.Request) -> web.Response:
        """Return the analyses of an item's image, whole."""
        query_of(request).check()
        found = await request[CALLER].catalog.get_analysis(shop_ref(request), request.match_info["item_id"])
        return data_response(request, to_json(found))

    async def list_products(self, request: web.Request) -> web.Response:
        """List the products of a shop with their items."""
        query = query_of(request, "text", "include_deleted", "page_size", "page_token")
        message = pb.ListProductsRequest(
            shop=shop_ref(request),
            text=query.text("text"),
            include_deleted=query.boolean("include_deleted"),
            page_size=query.integer("page_size", most=_MAX_PRODUCTS),
            page_token=query.text("page_token"),
        )
        query.check()
        caller = request[CALLER]
        page = await caller.catalog.list_products(message)
        shop_id = message.shop.shop_id
        self._addresses.remember(
            ((caller.subject, shop_id, "products", product.product_id), first_image(product))
            for product in page.products
        )
        products = [to_json(product) for product in page.products]
        return page_response(request, products, next_page_token=page.next_page_token, page_size=message.page_size)

    async def get_product(self, request: web.Request) -> web.Response:
        """Return a product with its items."""
        query_of(request).check()
        product = await request[CALLER].catalog.get_product(shop_ref(request), request.match_info["product_id"])
        return data_response(request, to_json(product))


def first_image(product: pb.Product) -> str:
    """Return the address of a product's first image; "" if there is none."""
    return product.images[0].url if product.images else ""


def _page_query(most: int) -> dict[str, Json]:
    return {
        "page_size": {"type": "integer", "minimum": 1, "maximum": most},
        "page_token": {"type": "string"},
    }


_TEXT: Final[Json] = {"type": "string", "description": "A part of the title, at least 3 characters."}
_ITEMS: Final = Operation(
    operation_id="listItems",
    summary="List the items of a shop, filtered.",
    query={
        "text": _TEXT,
        "sku": {"type": "string"},
        "product_id": {"type": "string"},
        "include_deleted": {"type": "boolean"},
        "analysis_state": {
            "enum": [name.removeprefix("ANALYSIS_STATE_") for name, number in AnalysisState.items() if number],
            "description": "The state of the analysis of the image. Only with page_size and page_token.",
        },
        **_page_query(_MAX_ITEMS),
    },
    response=list_of("Item"),
    paged=True,
    errors=(404, 409, 410, 422),
)
_ITEM: Final = Operation(
    operation_id="getItem",
    summary="Return an item, also if it is deleted.",
    response=ref("Item"),
    errors=(404,),
)
_ANALYSIS: Final = Operation(
    operation_id="getItemAnalysis",
    summary="Return the analyses of an item's image with all findings, one of each analyzer of the shop.",
    response=ref("ItemAnalyses"),
    errors=(404,),
)
_PRODUCTS: Final = Operation(
    operation_id="listProducts",
    summary="List the products of a shop with their items, filtered.",
    query={"text": _TEXT, "include_deleted": {"type": "boolean"}, **_page_query(_MAX_PRODUCTS)},
    response=list_of("Product"),
    paged=True,
    errors=(404, 409, 410, 422),
)
_PRODUCT: Final = Operation(
    operation_id="getProduct",
    summary="Return a product with its items, also if it is deleted.",
    response=ref("Product"),
    errors=(404,),
)
