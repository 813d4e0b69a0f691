"""Turns products into batches: those of a pass, then those that it missed; or some that are asked for by id."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final, TypeAlias

import msgspec

from connector_svc.domain.checkpoint import encode_checkpoint
from connector_svc.domain.fetch import Batch, End, FetchRequest, check_completeness
from connector_svc.domain.product import Product
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.woocommerce.by_id import Found, products_by_id
from connector_svc.platforms.woocommerce.client import Params, StoreClient
from connector_svc.platforms.woocommerce.completion import Delivered, Listing, end_of, is_proven, list_ids
from connector_svc.platforms.woocommerce.family import NO_FAMILY, Family
from connector_svc.platforms.woocommerce.loading import Loaded, loaded
from connector_svc.platforms.woocommerce.parse import Parser
from connector_svc.platforms.woocommerce.position import FINGERPRINT, Position
from connector_svc.platforms.woocommerce.products import Listed, Place
from connector_svc.platforms.woocommerce.start import Start
from connector_svc.platforms.woocommerce.variations import VariationLists

Delivery: TypeAlias = tuple[Batch, Position]
_MOST_LISTED_IDS: Final = 1_000
"""In one batch."""


class ProductDelivery:
    """Delivers products whole, for one request."""

    def __init__(
        self,
        request: FetchRequest,
        client: StoreClient,
        clock: Callable[[], datetime],
        window: Params,
        parser: Parser,
    ) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._window = window
        self._parser = parser

    async def all(
        self, position: Position, start: Start | None = None
    ) -> AsyncGenerator[tuple[Batch | End, Position], None]:
        """Yields the products of the window from `position` on, then their end. Raises SourceFailure."""
        delivered = Delivered(after=position.last_id, before=_received(position))
        async with aclosing(start or Start(self._request, self._client, self._clock, position)) as current:
            async for entry in current.loaded:
                batch, position = self._batch(entry, position, entry[0][-1].place)
                for listed in entry[0]:
                    if listed.record.id is not None and not _family(entry, listed).gone:
                        delivered.add(listed.record.id)
                yield batch, position
            pager = current.pager
        if is_proven(position, pager):
            self._check_undelivered(position)
            yield end_of(position, _received(position)), position
        elif pager.total is None:
            text = "The store does not tell how many products it has."
            yield end_of(position, _received(position), text), position
        else:
            async with aclosing(self._missed(position, delivered)) as missed:
                async for event in missed:
                    yield event

    async def given(self, ids: Sequence[int], position: Position) -> AsyncGenerator[Delivery, None]:
        """Yields the products of `ids`, and which of them the store does not have. Raises SourceFailure."""
        lists = VariationLists(self._client, position.route)
        async with aclosing(products_by_id(self._client, ids)) as answers:
            async for found in answers:
                async with aclosing(self._found(found, lists, position)) as batches:
                    async for batch, position in batches:
                        yield batch, position
                if found.gone:
                    yield self._made(position, deleted_product_ids=tuple(map(str, found.gone))), position

    async def _missed(
        self, position: Position, delivered: Delivered
    ) -> AsyncGenerator[tuple[Batch | End, Position], None]:
        """Lists all ids, reads what never came, and ends."""
        listing = await list_ids(self._client, self._window)
        for ids in _parts([one for one in listing.ids if one <= delivered.after and not self._window]):
            # An earlier stream of the pass had its turn with these: only the receiver knows which of them came.
            yield self._made(position, listed_product_ids=tuple(map(str, ids))), position
        missed, undecided = [one for one in listing.ids if delivered.lacks(one)], 0
        lists = VariationLists(self._client, position.route)
        async with aclosing(products_by_id(self._client, missed)) as answers:
            async for found in answers:
                undecided += len(found.undecided)
                # Products with higher ids than the last page were created meanwhile. `last_id` moves past them, or
                # a resumed pass would deliver them again; but not past one that could not be read.
                async with aclosing(self._found(found, lists, position, moves=not undecided)) as batches:
                    async for batch, position in batches:
                        yield batch, position
        yield self._end(position, listing, delivered, undecided), position

    def _end(self, position: Position, listing: Listing, delivered: Delivered, undecided: int) -> End:
        warnings: list[str] = []
        earlier = sum(one <= delivered.after for one in listing.ids)
        if not self._window and earlier > delivered.before:
            warnings.append(f"Products came up while the pass ran: {earlier - delivered.before}.")
        if undecided:
            warnings.append(f"Products that are listed and cannot be read: {undecided}.")
        source_count = min(len(listing.ids) + position.nameless, _received(position))
        unlisted = max(listing.unlisted - position.nameless, 0)
        self._check_undelivered(position, unlisted)
        return end_of(position, source_count, *warnings, unlisted=unlisted)

    def _check_undelivered(self, position: Position, unlisted: int = 0) -> None:
        """Raises SourceCountMismatch."""
        undelivered = position.nameless + unlisted
        check_completeness(self._request.shop, counted=_received(position) + unlisted, undelivered=undelivered)

    async def _found(
        self, found: Found, lists: VariationLists, position: Position, *, moves: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        async with aclosing(loaded(_one(found.listed), lists, self._request.max_batch_products)) as entries:
            async for entry in entries:
                reached = (entry[0][-1].record.id or 0) if moves else 0
                place = Place(last_id=max(reached, position.last_id), offset=position.offset)
                batch, position = self._batch(entry, position, place)
                yield batch, position

    def _batch(self, entry: Loaded, position: Position, place: Place) -> Delivery:
        """`place`: where the pass continues after these products."""
        products: list[Product] = []
        issues: list[RecordIssue] = []
        rejected = nameless = 0
        for listed in entry[0]:
            family = _family(entry, listed)
            if family.gone:
                continue
            parsed = self._parser.parse(listed.record, family, listed.blemishes)
            issues += parsed.issues
            if parsed.product is not None:
                products.append(parsed.product)
            else:
                rejected += 1
                nameless += listed.record.id is None
        items = sum(len(product.variants) for product in products)
        after = msgspec.structs.replace(
            position,
            last_id=place.last_id,
            offset=place.offset,
            counts=position.counts.plus(emitted=len(products), emitted_items=items, rejected=rejected),
            nameless=position.nameless + nameless,
        )
        return self._made(after, products=tuple(products), issues=tuple(issues)), after

    def _made(
        self,
        position: Position,
        *,
        products: tuple[Product, ...] = (),
        issues: tuple[RecordIssue, ...] = (),
        listed_product_ids: tuple[str, ...] = (),
        deleted_product_ids: tuple[str, ...] = (),
    ) -> Batch:
        return Batch(
            products=products,
            checkpoint=encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=position),
            issues=issues,
            listed_product_ids=listed_product_ids,
            deleted_product_ids=deleted_product_ids,
        )


def _received(position: Position) -> int:
    return position.counts.emitted + position.counts.rejected


def _family(entry: Loaded, listed: Listed) -> Family:
    families: Mapping[int, Family] = entry[1]
    return families.get(listed.record.id or 0, NO_FAMILY)


def _parts(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + _MOST_LISTED_IDS] for start in range(0, len(ids), _MOST_LISTED_IDS)]


async def _one(page: tuple[Listed, ...]) -> AsyncIterator[tuple[Listed, ...]]:
    if page:
        yield page
