"""Compares a complete pass with what is stored.

It reads what the catalog lacks, confirms what is missing, and marks what is deleted. A list may leave out a
product that exists: a row that the platform failed to load, a reply from a stale cache, a count that hides it. So
absence from a pass is a reason to ask for the product by its id, not a reason to delete it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from catalog_svc.domain.deletion_guard import check_deletion_guard
from catalog_svc.domain.errors import SourceCurrencyChanged, SourceIncomplete
from catalog_svc.domain.progress import Waiting
from catalog_svc.domain.records import RecordIssue
from catalog_svc.domain.source import (
    MAX_PRODUCT_IDS,
    MissingProduct,
    SourceBatch,
    SourceEnd,
    SourceHeader,
    SourceRequest,
)
from catalog_svc.domain.sync import Lease, Sync, SyncMode
from catalog_svc.usecases.ports import ProductSource, Sweeps
from catalog_svc.usecases.prefetch import ReadAhead

_PAGE_PRODUCTS = 10_000
"""Ids held at a time. Each page costs one look through the shop's products, whatever it finds."""

T = TypeVar("T")


class PassWriter(Protocol):
    """The sync that a reconciliation belongs to."""

    @property
    def sync(self) -> Sync:
        """As last stored."""
        ...

    @property
    def lease(self) -> Lease: ...

    async def store(self, batch: SourceBatch) -> None:
        """Stores a batch without moving the pass's checkpoint. Raises LeaseLost, StorageUnavailable."""
        ...

    async def show_wait(self, waiting: Waiting) -> None:
        """Shows that the sync waits. Raises LeaseLost, StorageUnavailable."""
        ...

    async def mark_deleted(self) -> bool:
        """Marks some of the products that the pass did not meet; False: none was left."""
        ...


class Reconciliation:
    """Of one sync in one process; an attempt that breaks off goes on where it stopped."""

    def __init__(
        self, writer: PassWriter, source: ProductSource, sweeps: Sweeps, *, allow_mass_delete: bool
    ) -> None:
        self._writer = writer
        self._source = source
        self._sweeps = sweeps
        self._allow_mass_delete = allow_mass_delete
        self._stored_up_to = ""
        self._confirmed_up_to = ""
        self._would_delete = 0
        """Items of products that are confirmed to be gone."""
        self._undecided = 0

    async def run(self, end: SourceEnd) -> tuple[str, ...]:
        """Reconciles after a pass that ended with `end`; notes for the sync.

        Raises SourceFailed, MassDeleteBlocked before anything is marked, LeaseLost, StorageUnavailable.
        """
        await self._read_unstored()
        if end.warnings:
            return tuple(f"No product was marked as deleted: {warning}" for warning in end.warnings)
        if self._writer.sync.mode is SyncMode.FULL or end.all_listed:
            await self._confirm_missing(proven=end.absence_proven)
            while await self._writer.mark_deleted():
                pass
        return self._notes()

    async def _read_unstored(self) -> None:
        """Reads the products that the pass listed and the catalog lacks, or holds as deleted.

        An incremental pass lists what it does not read; a full one that was resumed lists what it cannot know to
        have delivered.
        """
        while page := await self._sweeps.unstored(
            self._writer.lease, after=self._stored_up_to, limit=_PAGE_PRODUCTS
        ):
            for chunk in _chunks(page, MAX_PRODUCT_IDS):
                await self._read(chunk)
                self._stored_up_to = chunk[-1]

    async def _confirm_missing(self, *, proven: bool) -> None:
        """Asks for every stored product that the pass did not meet; those that exist are stored, and so met."""
        async for page in self._missing():
            for chunk in _chunks(page, MAX_PRODUCT_IDS):
                gone = frozenset(p.product_id for p in chunk) if proven else await self._gone(chunk)
                self._would_delete += sum(p.item_count for p in chunk if p.product_id in gone)
                self._confirmed_up_to = chunk[-1].product_id
            await self._guard()

    async def _missing(self) -> AsyncIterator[list[MissingProduct]]:
        while page := await self._sweeps.missing(
            self._writer.lease, after=self._confirmed_up_to, limit=_PAGE_PRODUCTS
        ):
            yield page

    async def _gone(self, missing: Sequence[MissingProduct]) -> frozenset[str]:
        """Which of these the platform does not have; what it would not tell is kept and reported."""
        asked = [product.product_id for product in missing]
        alive, deleted = await self._read(asked)
        undecided = [i for i in asked if i not in alive and i not in deleted]
        if undecided:
            self._undecided += len(undecided)
            await self._writer.store(_kept(undecided))
        return frozenset(deleted)

    async def _read(self, product_ids: Sequence[str]) -> tuple[set[str], set[str]]:
        """Reads and stores these products; those that exist, and those that do not."""
        sync = self._writer.sync
        request = SourceRequest(
            shop=sync.shop.key, updated_after=None, checkpoint=b"", product_ids=tuple(product_ids)
        )
        alive: set[str] = set()
        deleted: set[str] = set()
        async with ReadAhead(self._source.fetch(request)) as events:
            while (event := await events.next()) is not None:
                match event:
                    case SourceHeader():
                        _check_currency(sync, event)
                    case SourceBatch():
                        alive |= {product.product_id for product in event.products}
                        alive |= {issue.product_id for issue in event.issues if issue.product_rejected}
                        deleted |= set(event.deleted_product_ids)
                        # Nothing is marked before all is confirmed, and the deletion guard has looked at the sum.
                        await self._writer.store(replace(event, deleted_product_ids=()))
                    case Waiting():
                        await self._writer.show_wait(event)
                    case SourceEnd():
                        return alive, deleted - alive
        raise SourceIncomplete

    async def _guard(self) -> None:
        """Raises MassDeleteBlocked."""
        if self._would_delete and not self._allow_mass_delete:
            deleted = self._writer.sync.progress.items.deleted
            stored = await self._sweeps.live_items(self._writer.lease) + deleted
            check_deletion_guard(would_delete=self._would_delete, deleted=deleted, stored=stored)

    def _notes(self) -> tuple[str, ...]:
        if not self._undecided:
            return ()
        return (
            f"{self._undecided} products are kept although the platform did not list them: it did not say whether "
            "they still exist.",
        )


def _kept(product_ids: Sequence[str]) -> SourceBatch:
    return SourceBatch(
        products=(),
        issues=tuple(
            RecordIssue(
                reason="SOURCE_ERROR",
                product_id=product_id,
                item_id="",
                field="",
                message="The platform did not list the product and did not say whether it still exists; "
                "it is kept as it was stored.",
                sample="",
                product_rejected=False,
            )
            for product_id in product_ids
        ),
        checkpoint=b"",
        listed_product_ids=tuple(product_ids),
    )


def _check_currency(sync: Sync, header: SourceHeader) -> None:
    """The pass begins anew when it is tried again: its header shows the new currency."""
    stored, received = sync.shop.currency_code, header.profile.currency_code
    if stored != received:
        raise SourceCurrencyChanged(expected=stored, received=received)


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
