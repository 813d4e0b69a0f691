"""VerifyCatalog: one audit at a caller's request, with its progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final, Protocol

from catalogsync_common.drain import Drain, ServerDraining

from catalog_svc.domain.audit import AuditProgress, AuditResult
from catalog_svc.domain.shop import Shop, ShopRef
from catalog_svc.usecases.audit_run import AuditRun

_MAX_SILENCE_SECONDS: Final = 10.0
"""Between two messages of progress."""


class RegisteredShops(Protocol):
    """Finds the shop that a request names."""

    async def shop(self, ref: ShopRef) -> Shop:
        """Return the registered shop. Raises ShopNotFound."""
        ...


class VerifyCatalog:
    """Audits a shop while its caller waits."""

    def __init__(self, *, read: RegisteredShops, audit: AuditRun, drain: Drain) -> None:
        self._read = read
        self._audit = audit
        self._drain = drain

    async def __call__(
        self, ref: ShopRef, *, sample_size: int
    ) -> AsyncGenerator[AuditProgress | AuditResult, None]:
        """Yield progress at least every 10 s, and last the result. Closing the generator ends the audit.

        Raises:
            ShopNotFound: the shop is not registered.
            ServerDraining: the replica is shutting down.
            Failure: see `AuditRun.run`.
        """
        if self._drain.started:
            raise ServerDraining
        shop = await self._read.shop(ref)
        progress, changed = AuditProgress(products_checked=0, product_count=0), asyncio.Event()

        def report(newer: AuditProgress) -> None:
            nonlocal progress
            progress = newer
            changed.set()

        work = self._audit.run(shop, sample_size=sample_size, report=report)
        audit = asyncio.ensure_future(self._drain.race(work))
        audit.add_done_callback(lambda _: changed.set())
        try:
            while not audit.done():
                yield progress
                with suppress(TimeoutError):
                    async with asyncio.timeout(_MAX_SILENCE_SECONDS):
                        await changed.wait()
                changed.clear()
            yield await audit
        finally:
            audit.cancel()
            await asyncio.gather(audit, return_exceptions=True)
