"""Images of items and products, resized."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from catalogsync_bff.callers import CALLER, Caller
from catalogsync_bff.errors import HttpError
from catalogsync_bff.images.addresses import ImageAddresses
from catalogsync_bff.images.cache import ImageKey, ResizedImage
from catalogsync_bff.images.fetching import ImageUnavailable
from catalogsync_bff.images.proxy import ImageProxy, TooManyImages
from catalogsync_bff.images.resizing import ImageUnusable, OutputFormat
from catalogsync_bff.parameters import query_of
from catalogsync_bff.routes.catalog import first_image
from catalogsync_bff.routes.shops import shop_ref
from catalogsync_bff.routing import API, Operation, Route

SIZES: Final = ("96", "192", "480")
_DEFAULT_SIZE: Final = "192"
_CACHE_CONTROL: Final = "private, max-age=3600"

FindUrl = Callable[[Caller, pb.ShopRef, str], Awaitable[str]]


class ImageRoutes:
    """Routes of images.

    Args:
        proxy: fetches and resizes them.
        addresses: of items and products that were listed.
    """

    def __init__(self, proxy: ImageProxy, addresses: ImageAddresses) -> None:
        self._proxy = proxy
        self._addresses = addresses

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        shop = f"{API}/shops/{{shop_id}}"
        return (
            Route(
                method="GET",
                path=f"{shop}/items/{{item_id}}/image",
                handler=self.item_image,
                operation=_ITEM_IMAGE,
                # A page shows many images: each would cost a call.
                checks_shop_headers=False,
            ),
            Route(
                method="GET",
                path=f"{shop}/products/{{product_id}}/image",
                handler=self.product_image,
                operation=_PRODUCT_IMAGE,
                checks_shop_headers=False,
            ),
        )

    async def item_image(self, request: web.Request) -> web.Response:
        """Return the image of an item."""
        return await self._image(request, "items", request.match_info["item_id"], _item_url)

    async def product_image(self, request: web.Request) -> web.Response:
        """Return the first image of a product."""
        return await self._image(request, "products", request.match_info["product_id"], _product_url)

    async def _image(self, request: web.Request, kind: str, identifier: str, find: FindUrl) -> web.Response:
        query = query_of(request, "size")
        size = query.text("size") if query.has("size") else _DEFAULT_SIZE
        if size not in SIZES:
            query.reject("size", f"expected one of {', '.join(SIZES)}")
        query.check()
        caller, shop = request[CALLER], shop_ref(request)
        url = self._addresses.get((caller.subject, shop.shop_id, kind, identifier))
        if url is None:
            url = await find(caller, shop, identifier)
            self._addresses.remember([((caller.subject, shop.shop_id, kind, identifier), url)])
        if not url:
            raise HttpError(HTTPStatus.NOT_FOUND, "IMAGE_NOT_FOUND", "There is no image.")
        accepts_webp = "image/webp" in request.headers.get(hdrs.ACCEPT, "")
        output = OutputFormat.WEBP if accepts_webp else OutputFormat.JPEG
        return _respond(request, await self._load(ImageKey(url=url, size=int(size), output=output)))

    async def _load(self, key: ImageKey) -> ResizedImage:
        try:
            return await self._proxy.get(key)
        except ImageUnusable as error:
            raise HttpError(HTTPStatus.NOT_FOUND, "IMAGE_UNUSABLE", f"There is no image: {error}.") from None
        except ImageUnavailable as error:
            raise HttpError(
                HTTPStatus.BAD_GATEWAY, "IMAGE_UNAVAILABLE", f"The image cannot be fetched: {error}."
            ) from None
        except TooManyImages:
            raise HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "TOO_MANY_IMAGES",
                "Too many images are being fetched. Try again.",
                headers={hdrs.RETRY_AFTER: "1"},
            ) from None


async def _item_url(caller: Caller, shop: pb.ShopRef, identifier: str) -> str:
    return (await caller.catalog.get_item(shop, identifier)).image_url


async def _product_url(caller: Caller, shop: pb.ShopRef, identifier: str) -> str:
    return first_image(await caller.catalog.get_product(shop, identifier))


def _respond(request: web.Request, image: ResizedImage) -> web.Response:
    is_known = any(tag.value in (image.etag, "*") for tag in request.if_none_match or ())
    response = web.Response(
        status=HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK,
        body=None if is_known else image.content,
        content_type=image.output.value,
        headers={
            hdrs.CACHE_CONTROL: _CACHE_CONTROL,
            hdrs.VARY: "Accept, Cookie, Authorization",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "same-origin",
        },
    )
    response.etag = image.etag
    return response


_QUERY: Final = {"size": {"enum": list(SIZES), "default": _DEFAULT_SIZE}}
_TYPES: Final = tuple(output.value for output in OutputFormat)
_ITEM_IMAGE: Final = Operation(
    operation_id="getItemImage",
    summary="Return the image of an item, resized to fit into a square.",
    query=_QUERY,
    content_types=_TYPES,
    errors=(304, 404),
)
_PRODUCT_IMAGE: Final = Operation(
    operation_id="getProductImage",
    summary="Return the first image of a product, resized to fit into a square.",
    query=_QUERY,
    content_types=_TYPES,
    errors=(304, 404),
)
