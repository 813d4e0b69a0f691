"""Reads the variations of many products, 100 per call, and proves them complete against what each parent names."""

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
from connector_svc.domain.records import Fault
from connector_svc.platforms.woocommerce.bounded import gather_bounded
from connector_svc.platforms.woocommerce.by_id import is_variation_gone
from connector_svc.platforms.woocommerce.client import Answer, Params, StoreClient
from connector_svc.platforms.woocommerce.family import Family, FamilyRecords
from connector_svc.platforms.woocommerce.products import PRODUCTS
from connector_svc.platforms.woocommerce.record import Broken, RecordReader, Records
from connector_svc.platforms.woocommerce.routes import Route
from connector_svc.platforms.woocommerce.wire import VARIATION_FIELDS, ProductRow, VariationRow

_log = logging.getLogger(__name__)
_PER_PAGE: Final = 100
_CALL: Final = (("per_page", str(_PER_PAGE)), ("orderby", "id"), ("order", "asc"))
_PROBE: Final = (("per_page", "1"), ("_fields", "id"))
_UNUSABLE: Final = (
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnauthorized,
)
"""Failures of a route that a store does not have, or not for us. One that fails under load comes back."""
_MOST_LONE_FAILURES: Final = 2
"""Times that a bulk route may fail for a single product whose own list answers."""
_MOST_SINGLE_REQUESTS: Final = 200
"""For variations that no list holds, of one round of products."""


class _Parent(msgspec.Struct):
    id: int
    variations: list[int] | dict[str, int]

    def child_ids(self) -> tuple[int, ...]:
        return tuple(self.variations.values() if isinstance(self.variations, dict) else self.variations)


class _Stray(Exception):
    """A bulk list holds variations of products that we did not ask for: it ignores `parent`."""


class VariationLists:
    """Reads families by the best route that the store has."""

    def __init__(
        self,
        client: StoreClient,
        route: Route = Route.OFFICIAL,
        *,
        fields: str = VARIATION_FIELDS,
        bulk_only: bool = False,
    ) -> None:
        """`bulk_only`: without a route for many products at once all families stay empty."""
        self._client = client
        self._call = (*_CALL, ("_fields", fields))
        self._bulk_only = bulk_only
        self._reader = RecordReader(VariationRow)
        self._most_parents = _PER_PAGE
        """Of one bulk request; fewer after one that was not answered."""
        self._lone_failures = 0
        self.route = route

    async def probe(self) -> int | None:
        """Settles on a route; how many variations the store has, if that tells. Raises SourceFailure."""
        while (route := self.route).is_bulk:
            try:
                answer = await self._client.get(route.value, _PROBE, msgspec.json.Decoder(list[_Id]).decode)
            except SourceUnreachable:
                return None
            except _UNUSABLE as failure:
                self._leave(route, failure)
            else:
                return answer.total
        return None

    async def families(self, parents: Sequence[ProductRow]) -> Mapping[int, Family]:
        """The family of each of `parents`, by product id. Raises SourceFailure."""
        found = {parent.id: FamilyRecords(parent) for parent in parents}
        asked = [parent for parent in parents if parent.child_ids()]
        in_bulk = await self._fill(found, asked) if asked else self.route.is_bulk
        skipped = self._bulk_only and not in_bulk
        gone = frozenset[int]() if skipped else await self._complete(found)
        return {parent: records.family(gone=parent in gone) for parent, records in found.items()}

    async def _fill(self, found: Mapping[int, FamilyRecords], asked: Sequence[ProductRow]) -> bool:
        """Whether a bulk route answered."""
        left = list(asked)
        while left and (route := self.route).is_bulk:
            some = left[: self._most_parents]
            try:
                await self._fill_in_bulk(route, found, some)
            except SourceUnreachable as failure:
                if failure.retry_after is not None:
                    raise
                if len(some) > 1:
                    # A request that takes the store too long may be answered for fewer products.
                    self._most_parents = len(some) // 2
                    continue
                await self._fill_one_by_one([found[some[0].id]])
                self._failed_alone(route, failure)
            except (*_UNUSABLE, _Stray) as failure:
                self._leave(route, failure)
                continue
            left = left[len(some) :]
        if left and not self._bulk_only:
            await self._fill_one_by_one([found[parent.id] for parent in left])
        return not left

    def _failed_alone(self, route: Route, failure: SourceUnreachable) -> None:
        """One product's variations break the bulk route, or all do."""
        self._lone_failures += 1
        self._most_parents = _PER_PAGE
        if self._lone_failures >= _MOST_LONE_FAILURES:
            self._leave(route, failure)

    async def _fill_in_bulk(
        self, route: Route, found: Mapping[int, FamilyRecords], asked: Sequence[ProductRow]
    ) -> None:
        owners = {child: parent.id for parent in asked for child in parent.child_ids()}
        which = (("parent", ",".join(str(parent.id) for parent in asked)),)
        for records in await self._all_pages(route.value, which, expected=len(owners)):
            for record in records.items:
                parent = record.parent_id if record.parent_id is not None else owners.get(record.id or 0)
                family = None if parent is None else found.get(parent)
                if family is not None:
                    family.add(record, _blemishes(records, record))
                elif not isinstance(record, Broken):
                    raise _Stray

    async def _fill_one_by_one(self, families: Sequence[FamilyRecords]) -> None:
        async def fill(family: FamilyRecords) -> None:
            path = Route.PER_PRODUCT.of(family.parent.id)
            try:
                lists = await self._all_pages(path, (), expected=len(family.parent.child_ids()))
            except SourceNotFound:
                # Says something of this product alone; whether it is gone is asked next.
                return
            for records in lists:
                for record in records.items:
                    family.add(record, _blemishes(records, record))

        await gather_bounded(self._client.notes.gate.most, fill, families)

    async def _all_pages(self, path: str, which: Params, *, expected: int) -> list[Records[VariationRow]]:
        """As many pages as are expected at once, then what the store has beyond."""

        async def page(number: int) -> Answer[Records[VariationRow]]:
            return await self._client.get(path, (*self._call, ("page", str(number)), *which), self._reader.read)

        foreseen = max(math.ceil(expected / _PER_PAGE), 1)
        answers = await gather_bounded(self._client.notes.gate.most, page, range(1, foreseen + 1))
        total = max((answer.total or 0 for answer in answers), default=0)
        beyond = range(foreseen + 1, math.ceil(total / _PER_PAGE) + 1)
        answers += await gather_bounded(self._client.notes.gate.most, page, beyond)
        return [answer.value for answer in answers]

    async def _complete(self, found: Mapping[int, FamilyRecords]) -> frozenset[int]:
        """Reads families that are not whole again, one by one. Returns the products that went meanwhile."""
        partial = _partial(found.values())
        if not partial:
            return frozenset()
        await self._fill_one_by_one(partial)
        if not (partial := _partial(partial)):
            return frozenset()
        gone = await self._renamed(partial)
        await self._ask_for_missing([records for records in _partial(partial) if records.parent.id not in gone])
        return gone

    async def _ask_for_missing(self, partial: Sequence[FamilyRecords]) -> None:
        """Asks once for each variation that its product names and no list holds.

        WooCommerce keeps the names for up to 30 days, and forgets to renew them when a variation is removed by the
        command line, a clean-up plugin or SQL.
        """
        owners = {child: records for records in partial for child in records.missing()}
        if self.route.is_bulk:
            await self._include(owners)
        left = [child for child, records in owners.items() if child in records.missing()][:_MOST_SINGLE_REQUESTS]

        async def ask(child: int) -> bool:
            return await is_variation_gone(self._client, child, parent_id=owners[child].parent.id)

        answers = await gather_bounded(self._client.notes.gate.most, ask, left)
        for child, is_gone in zip(left, answers, strict=True):
            if is_gone:
                owners[child].drop(child)
        # What is alive was left out of lists that should have held it.
        await self._fill_one_by_one(_partial(partial))

    async def _include(self, owners: Mapping[int, FamilyRecords]) -> None:
        ids = list(owners)
        for start in range(0, len(ids), _PER_PAGE):
            include = ",".join(map(str, ids[start : start + _PER_PAGE]))
            try:
                answer = await self._client.get(
                    self.route.value, (*self._call, ("include", include)), self._reader.read
                )
            except (*_UNUSABLE, SourceUnreachable):
                return
            for record in answer.value.items:
                owner = owners.get(record.id or 0)
                if owner is not None:
                    owner.add(record, _blemishes(answer.value, record))

    async def _renamed(self, partial: Sequence[FamilyRecords]) -> frozenset[int]:
        """Asks what the parents name now: merchants delete variations, and products, while we read."""
        gone: set[int] = set()
        for start in range(0, len(partial), _PER_PAGE):
            some = partial[start : start + _PER_PAGE]
            ids = ",".join(str(records.parent.id) for records in some)
            params = (("include", ids), ("per_page", str(_PER_PAGE)), ("_fields", "id,variations"))
            answer = await self._client.get(PRODUCTS, params, msgspec.json.Decoder(list[_Parent]).decode)
            now = {parent.id: parent for parent in answer.value}
            for records in some:
                if records.parent.id in now:
                    records.narrow(now[records.parent.id].child_ids())
                else:
                    gone.add(records.parent.id)
        return frozenset(gone)

    def _leave(self, route: Route, failure: Exception) -> None:
        """Once, however many calls find the same route of no use."""
        if self.route is not route:
            return
        self.route = route.next()
        _log.info(
            "%s: %s is of no use (%s), going on with %s",
            self._client.shop,
            route.name,
            type(failure).__name__,
            self.route.name,
        )


class _Id(msgspec.Struct):
    id: int


def _partial(families: Iterable[FamilyRecords]) -> list[FamilyRecords]:
    """Those that lack a variation which their product names."""
    return [records for records in families if records.missing()]


def _blemishes(records: Records[VariationRow], record: VariationRow | Broken) -> tuple[Fault, ...]:
    return records.blemishes.get(record.id, ()) if record.id is not None else ()
