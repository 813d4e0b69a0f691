"""Reads the variations of many products, 100 per call, and proves them complete against what each parent names."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
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
from connector_svc.domain.fault import Fault
from connector_svc.platforms.woocommerce.bounded import gather_bounded
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
    SourceUnreachable,
)


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
        self.route = route

    async def probe(self) -> int | None:
        """Settles on a route; how many variations the store has, if that tells. Raises SourceFailure."""
        while (route := self.route).is_bulk:
            try:
                answer = await self._client.get(route.value, _PROBE, msgspec.json.Decoder(list[_Id]).decode)
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
        gone = frozenset[int]() if skipped else await self._complete(found, again=in_bulk)
        return {parent: records.family(gone=parent in gone) for parent, records in found.items()}

    async def _fill(self, found: Mapping[int, FamilyRecords], asked: Sequence[ProductRow]) -> bool:
        """Whether a bulk route answered."""
        while (route := self.route).is_bulk:
            try:
                await self._fill_in_bulk(route, found, asked)
            except (*_UNUSABLE, _Stray) as failure:
                self._leave(route, failure)
            else:
                return True
        if not self._bulk_only:
            await self._fill_one_by_one([found[parent.id] for parent in asked])
        return False

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
            for records in await self._all_pages(path, (), expected=len(family.parent.child_ids())):
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

    async def _complete(self, found: Mapping[int, FamilyRecords], *, again: bool) -> frozenset[int]:
        """Reads families that are not whole `again`, one by one. Returns the products that went meanwhile."""
        partial = [records for records in found.values() if records.missing()]
        if not partial:
            return frozenset()
        if again:
            await self._fill_one_by_one(partial)
            partial = [records for records in partial if records.missing()]
        return await self._renamed(partial) if partial else frozenset()

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


def _blemishes(records: Records[VariationRow], record: VariationRow | Broken) -> tuple[Fault, ...]:
    return records.blemishes.get(record.id, ()) if record.id is not None else ()
