"""Lists the ids of products, 250 for 13 points."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import msgspec

from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import (
    CursorRefused,
    PlatformStumbled,
    QueryTooDear,
    platform_fails,
)
from connector_svc.platforms.shopify.graphql_response import Answer
from connector_svc.platforms.shopify.ids import number_of
from connector_svc.platforms.shopify.page_size import PageSize
from connector_svc.platforms.shopify.pages import Place
from connector_svc.platforms.shopify.queries import NEXT_IDS
from connector_svc.platforms.shopify.wire import IdNode, PageData

_IDS = msgspec.json.Decoder(PageData[IdNode])


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """One page of ids."""

    gids: tuple[str, ...]
    end: Place
    """Behind this page."""
    has_next: bool


class Sweep:
    """The ids that a search finds, in their order."""

    def __init__(self, client: ShopifyClient, *, largest: int, pause: timedelta) -> None:
        self._client = client
        self._size = PageSize(largest, pause=pause)

    async def load(self, place: Place) -> Swept:
        """The page that begins at `place`. Raises SourceFailure."""
        try:
            return await self._load_from(place)
        except CursorRefused as refused:
            return await self._load_from(place.without(refused))

    async def _load_from(self, place: Place) -> Swept:
        try:
            answer = await self._size.ask(partial(self._ask, place))
        except (PlatformStumbled, QueryTooDear) as error:
            raise platform_fails(self._client.shop) from error
        products = self._client.decoded(answer, _IDS).products
        info = products.page_info
        if info.has_next_page and info.end_cursor in {None, place.after}:
            raise SourceQueryRefused(self._client.shop, "the next page begins where this one did")
        gids = tuple(node.id for node in products.nodes)
        return Swept(
            gids=gids,
            end=place.moved(info, (int(number) for gid in gids if (number := number_of(gid, "Product")))),
            has_next=info.has_next_page,
        )

    async def _ask(self, place: Place, first: int) -> Answer:
        return await self._client.call(NEXT_IDS, {"first": first, "after": place.after, "query": place.query})
