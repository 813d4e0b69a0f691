"""Reads products by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.platforms.bigcommerce.client import PRODUCTS, StoreClient, TooMuch
from connector_svc.platforms.bigcommerce.error_mapping import unreadable
from connector_svc.platforms.bigcommerce.record_salvage import Broken, Listed, id_of, read_products

IDS_PER_CALL = 100
"""BigCommerce takes any number and answers 250 products; fewer keep the answer and the URL small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What the store says of some ids."""

    records: tuple[Listed | Broken, ...]
    """In the order of ids."""
    is_whole: bool
    """Whether every product that the answer counts is in it, under its id."""

    @property
    def ids(self) -> set[int]:
        return {number for number in map(id_of, self.records) if number is not None}


async def read_by_id(client: StoreClient, ids: Sequence[int]) -> Answered:
    """The products of `ids`, at most IDS_PER_CALL, that the store has. Raises SourceFailure."""
    params = (
        ("include", "variants,images"),
        ("sort", "id"),
        ("direction", "asc"),
        ("limit", str(IDS_PER_CALL)),
        ("id:in", ",".join(map(str, ids))),
    )
    try:
        page = (await client.get(PRODUCTS, params, read_products, can_shrink=True)).value
    except TooMuch:
        return await _in_halves(client, ids)
    named = sorted((one for one in page.items if id_of(one) is not None), key=lambda one: id_of(one) or 0)
    answered = Answered(
        records=tuple(named),
        is_whole=len(named) == len(page.items) >= page.total,
    )
    if not answered.ids.issubset(ids):
        raise SourceQueryRefused(client.shop, "other products than those asked for")
    return answered


async def _in_halves(client: StoreClient, ids: Sequence[int]) -> Answered:
    if len(ids) == 1:
        return Answered(records=(Broken(id=ids[0], fault=unreadable()),), is_whole=True)
    middle = len(ids) // 2
    first, second = await read_by_id(client, ids[:middle]), await read_by_id(client, ids[middle:])
    return Answered(records=first.records + second.records, is_whole=first.is_whole and second.is_whole)
