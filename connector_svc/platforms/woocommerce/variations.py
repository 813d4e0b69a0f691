"""Read the variations of many products, 100 per request, and check them against the ids that each parent names."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from connector_svc.domain.errors import (
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from connector_svc.platforms.woocommerce.client import Params, StoreClient, StoreResponse
from connector_svc.platforms.woocommerce.json_salvage import DecodedRecords, RecordDecoder, RejectedRecord
from connector_svc.platforms.woocommerce.prefetch import gather_bounded
from connector_svc.platforms.woocommerce.products_by_id import is_variation_gone
from connector_svc.platforms.woocommerce.variation_group import VariationGroup, VariationGroupBuilder
from connector_svc.platforms.woocommerce.wire import (
    ORDER_BY_ID,
    PER_PAGE,
    PRODUCTS_PATH,
    VARIATION_FIELDS,
    ProductRow,
    VariationRoute,
    VariationRow,
    distinct_child_ids,
)

_log = logging.getLogger(__name__)
_LIST_PARAMS: Final = (("per_page", str(PER_PAGE)), *ORDER_BY_ID)
_PROBE_PARAMS: Final = (("per_page", "1"), ("_fields", "id"))
_ROUTE_ERRORS: Final = (
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnauthorized,
)
"""Failures of a route that the store does not have, or not for this key. Failures under load do not count."""
_MAX_SINGLE_PARENT_FAILURES: Final = 2
"""Of a bulk route, each for one product whose own list works."""
_MAX_SINGLE_REQUESTS: Final = 200
"""For variations that no list contains, per batch of products."""


class _Id(msgspec.Struct):
    id: int


class _Parent(msgspec.Struct):
    id: int
    variations: list[int] | dict[str, int]


class _UnrequestedProduct(Exception):
    """A bulk list contains variations of products that were not requested: the route ignores `parent`."""


class VariationReader:
    """Reads variation groups by the best route that the store has."""

    def __init__(
        self,
        client: StoreClient,
        route: VariationRoute = VariationRoute.OFFICIAL,
        *,
        fields: str = VARIATION_FIELDS,
        bulk_only: bool = False,
    ) -> None:
        """Create a reader.

        Args:
            route: The first route to try.
            bulk_only: Leave all groups empty where the store has no bulk route.
        """
        self._client = client
        self._params = (*_LIST_PARAMS, ("_fields", fields))
        self._bulk_only = bulk_only
        self._decoder = RecordDecoder(VariationRow)
        self._max_parents = PER_PAGE
        """Of one bulk request; fewer after one that was not answered."""
        self._single_parent_failures = 0
        self.route = route

    async def probe(self) -> int | None:
        """Choose the route.

        Returns:
            How many variations the store has; None: the route does not report it.

        Raises:
            SourceFailure: The store does not answer.
        """
        while (route := self.route).is_bulk:
            try:
                response = await self._client.get(
                    route.value, _PROBE_PARAMS, msgspec.json.Decoder(list[_Id]).decode
                )
            except SourceUnreachable:
                return None
            except _ROUTE_ERRORS as failure:
                self._fall_back(route, failure)
            else:
                return response.total
        return None

    async def read_groups(self, parents: Sequence[ProductRow]) -> Mapping[int, VariationGroup]:
        """Return the variation group of each parent, by product id. Raise SourceFailure."""
        builders = {parent.id: VariationGroupBuilder(parent) for parent in parents}
        with_children = [parent for parent in parents if parent.child_ids()]
        is_bulk = await self._read_lists(builders, with_children) if with_children else self.route.is_bulk
        skips_completion = self._bulk_only and not is_bulk
        gone = frozenset[int]() if skips_completion else await self._complete(builders)
        return {parent: builder.build(is_parent_gone=parent in gone) for parent, builder in builders.items()}

    async def _read_lists(
        self, builders: Mapping[int, VariationGroupBuilder], parents: Sequence[ProductRow]
    ) -> bool:
        """Read the variations of the parents; return whether a bulk route listed all of them."""
        left = list(parents)
        while left and (route := self.route).is_bulk:
            some = left[: self._max_parents]
            try:
                await self._read_in_bulk(route, builders, some)
            except SourceUnreachable as failure:
                if failure.retry_after is not None:
                    raise
                if len(some) > 1:
                    # The store may be able to answer in time for fewer products.
                    self._max_parents = len(some) // 2
                    continue
                await self._read_one_by_one([builders[some[0].id]])
                self._record_single_parent_failure(route, failure)
            except (*_ROUTE_ERRORS, _UnrequestedProduct) as failure:
                self._fall_back(route, failure)
                continue
            left = left[len(some) :]
        if left and not self._bulk_only:
            await self._read_one_by_one([builders[parent.id] for parent in left])
        return not left

    def _record_single_parent_failure(self, route: VariationRoute, failure: SourceUnreachable) -> None:
        """Count a bulk request that failed for one product: the product is the cause, or every request fails."""
        self._single_parent_failures += 1
        self._max_parents = PER_PAGE
        if self._single_parent_failures >= _MAX_SINGLE_PARENT_FAILURES:
            self._fall_back(route, failure)

    async def _read_in_bulk(
        self,
        route: VariationRoute,
        builders: Mapping[int, VariationGroupBuilder],
        parents: Sequence[ProductRow],
    ) -> None:
        parent_ids = {child: parent.id for parent in parents for child in parent.child_ids()}
        parent_param = (("parent", ",".join(str(parent.id) for parent in parents)),)
        for records in await self._read_all_pages(route.value, parent_param, expected=len(parent_ids)):
            for record in records.items:
                parent_id = record.parent_id if record.parent_id is not None else parent_ids.get(record.id or 0)
                builder = None if parent_id is None else builders.get(parent_id)
                if builder is not None:
                    builder.add(record, records.faults_of(record))
                elif not isinstance(record, RejectedRecord):
                    raise _UnrequestedProduct

    async def _read_one_by_one(self, builders: Sequence[VariationGroupBuilder]) -> None:
        async def read(builder: VariationGroupBuilder) -> None:
            path = VariationRoute.PER_PRODUCT.path(builder.parent.id)
            try:
                pages = await self._read_all_pages(path, (), expected=len(builder.parent.child_ids()))
            except SourceNotFound:
                # Concerns this product alone; `_complete` checks whether the product is gone.
                return
            for records in pages:
                for record in records.items:
                    builder.add(record, records.faults_of(record))

        await gather_bounded(self._client.state.limiter.max_limit, read, builders)

    async def _read_all_pages(
        self, path: str, filters: Params, *, expected: int
    ) -> list[DecodedRecords[VariationRow]]:
        """Read the pages of the expected variations concurrently, then those that the store has beyond them."""

        async def read(number: int) -> StoreResponse[DecodedRecords[VariationRow]]:
            params = (*self._params, ("page", str(number)), *filters)
            return await self._client.get(path, params, self._decoder.decode)

        max_calls = self._client.state.limiter.max_limit
        expected_pages = max(math.ceil(expected / PER_PAGE), 1)
        responses = await gather_bounded(max_calls, read, range(1, expected_pages + 1))
        total = max((response.total or 0 for response in responses), default=0)
        further_pages = range(expected_pages + 1, math.ceil(total / PER_PAGE) + 1)
        responses += await gather_bounded(max_calls, read, further_pages)
        return [response.value for response in responses]

    async def _complete(self, builders: Mapping[int, VariationGroupBuilder]) -> frozenset[int]:
        """Read incomplete groups again, one by one. Return the products that are gone meanwhile."""
        incomplete = _incomplete(builders.values())
        if not incomplete:
            return frozenset()
        await self._read_one_by_one(incomplete)
        if not (incomplete := _incomplete(incomplete)):
            return frozenset()
        gone = await self._refresh_named_ids(incomplete)
        await self._look_up_missing(
            [builder for builder in _incomplete(incomplete) if builder.parent.id not in gone]
        )
        return gone

    async def _refresh_named_ids(self, incomplete: Sequence[VariationGroupBuilder]) -> frozenset[int]:
        """Read which variations the parents name now: merchants delete variations and products during a pass.

        Returns:
            The products that are gone.
        """
        gone: set[int] = set()
        for start in range(0, len(incomplete), PER_PAGE):
            some = incomplete[start : start + PER_PAGE]
            ids = ",".join(str(builder.parent.id) for builder in some)
            params = (("include", ids), ("per_page", str(PER_PAGE)), ("_fields", "id,variations"))
            response = await self._client.get(PRODUCTS_PATH, params, msgspec.json.Decoder(list[_Parent]).decode)
            parents = {parent.id: parent for parent in response.value}
            for builder in some:
                if builder.parent.id in parents:
                    builder.set_named_ids(distinct_child_ids(parents[builder.parent.id].variations))
                else:
                    gone.add(builder.parent.id)
        return frozenset(gone)

    async def _look_up_missing(self, incomplete: Sequence[VariationGroupBuilder]) -> None:
        """Look up each variation once that its product names and no list contains.

        WooCommerce caches the named ids for up to 30 days, and does not refresh them when a variation is removed
        by the command line, a clean-up plugin or SQL.
        """
        owners = {child: builder for builder in incomplete for child in builder.missing()}
        if self.route.is_bulk:
            await self._read_by_id_in_bulk(owners)
        left = [child for child, builder in owners.items() if child in builder.missing()][:_MAX_SINGLE_REQUESTS]

        async def is_gone(child: int) -> bool:
            return await is_variation_gone(self._client, child, parent_id=owners[child].parent.id)

        answers = await gather_bounded(self._client.state.limiter.max_limit, is_gone, left)
        for child, gone in zip(left, answers, strict=True):
            if gone:
                owners[child].mark_removed(child)
        # Variations that exist were left out of lists that should contain them.
        await self._read_one_by_one(_incomplete(incomplete))

    async def _read_by_id_in_bulk(self, owners: Mapping[int, VariationGroupBuilder]) -> None:
        ids = list(owners)
        for start in range(0, len(ids), PER_PAGE):
            include = ",".join(map(str, ids[start : start + PER_PAGE]))
            params = (*self._params, ("include", include))
            try:
                response = await self._client.get(self.route.value, params, self._decoder.decode)
            except (*_ROUTE_ERRORS, SourceUnreachable):
                return
            for record in response.value.items:
                owner = owners.get(record.id or 0)
                if owner is not None:
                    owner.add(record, response.value.faults_of(record))

    def _fall_back(self, route: VariationRoute, failure: Exception) -> None:
        """Fall back to the next route, once for all concurrent calls that find `route` unusable."""
        if self.route is not route:
            return
        self.route = route.fallback()
        _log.info(
            "%s: variation route %s is not usable (%s); falling back to %s",
            self._client.shop,
            route.name,
            type(failure).__name__,
            self.route.name,
        )


def _incomplete(builders: Iterable[VariationGroupBuilder]) -> list[VariationGroupBuilder]:
    """Return the builders that lack a variation which their product names."""
    return [builder for builder in builders if builder.missing()]
