"""Reconciliation: checks that a pass is complete, and compares what it listed with what is stored.

It reads the listed products that are not stored, confirms the missing ones, and marks those that do not exist as
deleted. A listing may leave out a product that exists: a row that the platform failed to load, a reply from a
stale cache, a count that hides it. So absence from a listing is a reason to read the product by its id, not a
reason to delete it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from catalog_svc.domain.deletion_guard import DeletionDigest, PassDeletion
from catalog_svc.domain.errors import SourceCountMismatch, SourceCurrencyChanged, SourceIncomplete
from catalog_svc.domain.records import RecordIssue
from catalog_svc.domain.source import (
    MAX_PRODUCT_IDS,
    MissingProduct,
    SourceBatch,
    SourceEnd,
    SourceHeader,
    SourceRequest,
)
from catalog_svc.domain.sync import BlockedDeletion, Lease, Sync, SyncMode, Waiting
from catalog_svc.usecases.ports import ProductSource, Sweeps
from catalog_svc.usecases.prefetch import Prefetch

_PAGE_PRODUCTS = 10_000
"""Ids held in memory. Each page costs one scan of the shop's products, whatever it finds."""

T = TypeVar("T")


def check_complete(sync: Sync, end: SourceEnd) -> None:
    """Check that the pass stored at least as many products as the source sent and as its platform counts.

    More is possible: a product that was deleted while the pass ran, or read again after a break.

    Raises:
        SourceCountMismatch: fewer products were stored.
    """
    products = sync.progress.products
    # Products that were sent and could not be stored as they came are counted as rejected.
    accounted = products.seen + products.rejected
    if accounted < end.emitted_count:
        raise SourceCountMismatch(what="products were sent", expected=end.emitted_count, received=accounted)
    if accounted < end.source_count:
        raise SourceCountMismatch(
            what="products are counted by the platform", expected=end.source_count, received=accounted
        )


class PassWriter(Protocol):
    """Writes for the sync whose pass is reconciled."""

    @property
    def sync(self) -> Sync:
        """The sync as last stored."""
        ...

    @property
    def lease(self) -> Lease: ...

    async def store(self, batch: SourceBatch) -> None:
        """Store a batch without moving the pass's checkpoint. Raises LeaseLost, StorageUnavailable."""
        ...

    async def show_wait(self, waiting: Waiting) -> None:
        """Store and publish why the sync waits. Raises LeaseLost, StorageUnavailable."""
        ...

    async def mark_deleted(self) -> bool:
        """Mark some of the products that the pass did not list as deleted; False: none was left.

        Raises LeaseLost, StorageUnavailable.
        """
        ...


class Reconciliation:
    """The reconciliation of one sync execution; called again after a failure, it continues where it stopped."""

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
        """Items of products that are confirmed as deleted."""
        self._digest = DeletionDigest("products")
        """Of the same products."""
        self._may_delete = False
        """Whether the deletion guard has allowed what is left to delete."""
        self._undecided = 0
        """Products that the platform neither returned nor reported as deleted."""

    async def run(self, end: SourceEnd) -> tuple[str, ...]:
        """Reconcile the stored catalog with a pass that ended with `end`.

        Returns:
            Notes for the sync.

        Raises:
            SourceFailed: products could not be read by id.
            MassDeleteBlocked: the deletion guard stops the sync, before any product is marked.
            LeaseLost: the sync was ended by others, or claimed again.
            StorageUnavailable: the database is unavailable.
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
        """Read the products that the pass listed and that are not stored, or stored as deleted.

        An incremental pass lists more products than it reads; a full one that was resumed cannot know whether the
        stream before it delivered everything that it listed.
        """
        while page := await self._sweeps.unstored(
            self._writer.lease, after=self._stored_up_to, limit=_PAGE_PRODUCTS
        ):
            for chunk in _chunks(page, MAX_PRODUCT_IDS):
                await self._read(chunk)
                self._stored_up_to = chunk[-1]

    async def _confirm_missing(self, *, proven: bool) -> None:
        """Read every stored product that the pass did not list; those that exist are stored, and so listed."""
        async for page in self._missing():
            for chunk in _chunks(page, MAX_PRODUCT_IDS):
                deleted = frozenset(p.product_id for p in chunk) if proven else await self._confirm_deleted(chunk)
                gone = [p for p in chunk if p.product_id in deleted]
                self._would_delete += sum(p.item_count for p in gone)
                self._digest.add(p.product_id for p in gone)
                self._confirmed_up_to = chunk[-1].product_id
            # A large shop is stopped early; two passes agree on all that is missing.
            await self._check_deletion_guard(all_confirmed=False)
        await self._check_deletion_guard(all_confirmed=True)

    async def _missing(self) -> AsyncIterator[list[MissingProduct]]:
        while page := await self._sweeps.missing(
            self._writer.lease, after=self._confirmed_up_to, limit=_PAGE_PRODUCTS
        ):
            yield page

    async def _confirm_deleted(self, missing: Sequence[MissingProduct]) -> frozenset[str]:
        """Return the ids that the platform reports as deleted; undecided products are kept and reported."""
        requested = [product.product_id for product in missing]
        existing, deleted = await self._read(requested)
        undecided = [i for i in requested if i not in existing and i not in deleted]
        if undecided:
            self._undecided += len(undecided)
            await self._writer.store(_undecided_batch(undecided))
        return frozenset(deleted)

    async def _read(self, product_ids: Sequence[str]) -> tuple[set[str], set[str]]:
        """Read these products and store them.

        Returns:
            The ids of those that exist, and the ids of those that do not.
        """
        sync = self._writer.sync
        request = SourceRequest(
            shop=sync.shop.key, updated_after=None, checkpoint=b"", product_ids=tuple(product_ids)
        )
        existing: set[str] = set()
        deleted: set[str] = set()
        async with Prefetch(self._source.fetch(request)) as events:
            while (event := await events.next()) is not None:
                match event:
                    case SourceHeader():
                        _check_currency(sync, event)
                    case SourceBatch():
                        existing |= {product.product_id for product in event.products}
                        existing |= {issue.product_id for issue in event.issues if issue.product_rejected}
                        deleted |= set(event.deleted_product_ids)
                        # No product is marked before all are confirmed and the deletion guard has checked the sum.
                        await self._writer.store(replace(event, deleted_product_ids=()))
                    case Waiting():
                        await self._writer.show_wait(event)
                    case SourceEnd():
                        return existing, deleted - existing
        raise SourceIncomplete

    async def _check_deletion_guard(self, *, all_confirmed: bool) -> None:
        """Raise MassDeleteBlocked if the pass would delete too much, and the full pass before does not agree."""
        if self._may_delete or self._allow_mass_delete or not self._would_delete:
            return
        deleted = self._writer.sync.progress.items.deleted
        stored = await self._sweeps.live_items(self._writer.lease) + deleted
        deletion = PassDeletion(would_delete=self._would_delete, deleted=deleted, stored=stored)
        if deletion.needs_person:
            raise deletion.error(None)
        if not all_confirmed:
            return
        if not deletion.is_allowed:
            await self._check_agreement(deletion)
        self._may_delete = True

    async def _check_agreement(self, deletion: PassDeletion) -> None:
        """Raise MassDeleteBlocked unless this pass and the one before are full ones with the same deletion."""
        if self._writer.sync.mode is not SyncMode.FULL:
            raise deletion.error(BlockedDeletion())
        blocked = self._digest.blocked()
        if not await self._sweeps.agrees(self._writer.lease, blocked):
            raise deletion.error(blocked)

    def _notes(self) -> tuple[str, ...]:
        if not self._undecided:
            return ()
        return (
            f"{self._undecided} products are kept although the platform did not list them: it did not say whether "
            "they still exist.",
        )


def _undecided_batch(product_ids: Sequence[str]) -> SourceBatch:
    """Return a batch that keeps these products, with one issue for each."""
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
    """Raise SourceCurrencyChanged unless the currency is the stored one.

    The retry restarts the pass, since its header has the new currency.
    """
    stored, received = sync.shop.currency_code, header.profile.currency_code
    if stored != received:
        raise SourceCurrencyChanged(expected=stored, received=received)


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
