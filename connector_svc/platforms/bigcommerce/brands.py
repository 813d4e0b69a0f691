"""Names of brands, which products know by id alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceForbidden, SourceNotFound
from connector_svc.platforms.bigcommerce.client import BRANDS, StoreClient
from connector_svc.platforms.bigcommerce.wire import BrandList

_PER_CALL: Final = 250
_MOST: Final = 5_000
"""Remembered."""
_BRANDS: Final = msgspec.json.Decoder(BrandList)


class Brands:
    """Asks for each brand once, many at a time."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._names: OrderedDict[int, str] = OrderedDict()

    async def names(self, ids: Iterable[int | None]) -> Mapping[int, str]:
        """By id; a brand that is not there is left out. Raises SourceFailure."""
        wanted = {number for number in ids if number}
        unknown = sorted(wanted - self._names.keys())
        for start in range(0, len(unknown), _PER_CALL):
            await self._read(unknown[start : start + _PER_CALL])
        found = {number: self._names[number] for number in wanted if self._names.get(number)}
        while len(self._names) > _MOST:
            self._names.popitem(last=False)
        return found

    async def _read(self, ids: list[int]) -> None:
        params = (("id:in", ",".join(map(str, ids))), ("include_fields", "name"), ("limit", str(_PER_CALL)))
        self._names |= dict.fromkeys(ids, "")
        try:
            answer = await self._client.get(BRANDS, params, _BRANDS.decode)
        except (SourceForbidden, SourceNotFound):
            # A vendor is worth less than the catalog.
            return
        self._names |= {row.id: row.name for row in answer.value.data}
