"""Adapts the page size to what Shopify can serve and to the size of its replies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from connector_svc.domain.errors import SourceUnreachable
from connector_svc.platforms.shopify.error_mapping import MaxCostExceeded, ReplyUnusable, ShopifyInternalError
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse

_log = logging.getLogger(__name__)

_MAX_REPLY_BYTES = 8 * 1024 * 1024
"""Above this, pages get smaller: memory must not depend on how large a merchant's products are."""
_UNREACHABLE_DIVISOR = 10


class PageSize:
    """Starts at the maximum; halves when Shopify cannot serve the page, doubles after each success.

    Several calls may run at the same time; a size that fails for all of them counts as one failure. A size that
    exceeded the maximum cost is never tried again. When the shop did not answer at all until the HTTP client's
    retries were exhausted, the page shrinks once to a tenth instead of a half, since each attempt takes minutes.
    """

    def __init__(self, maximum: int, *, retry_delay: timedelta) -> None:
        self.current = maximum
        self._maximum = maximum
        self._retry_delay = retry_delay

    async def call(self, send: Callable[[int], Awaitable[GraphqlResponse]]) -> GraphqlResponse:
        """Return the response of `send` at a page size that Shopify can serve.

        Raises:
            MaxCostExceeded: Even a single record is too expensive.
            ShopifyInternalError: Shopify cannot serve a single record.
            SourceFailure: The shop cannot be read.
        """
        while True:
            size = self.current
            try:
                response = await send(size)
            except MaxCostExceeded:
                if size == 1:
                    raise
                self._shrink(size // 2)
                self._maximum = min(self._maximum, size // 2)
            except ShopifyInternalError as error:
                _log.warning("internal error of Shopify", extra={"page": size, "request_id": str(error)})
                await asyncio.sleep(self._retry_delay.total_seconds())
                if size == 1:
                    raise
                self._shrink(size // 2)
            except ReplyUnusable:
                self._shrink(size // 2)
            except SourceUnreachable:
                if size <= self._maximum // _UNREACHABLE_DIVISOR or size == 1:
                    raise
                self._shrink(size // _UNREACHABLE_DIVISOR)
            else:
                self._adapt(response.size_bytes)
                return response

    def _shrink(self, size: int) -> None:
        self.current = max(1, min(self.current, size))

    def _adapt(self, reply_bytes: int) -> None:
        if reply_bytes > _MAX_REPLY_BYTES:
            self.current = max(1, self.current // 2)
        elif reply_bytes * 2 <= _MAX_REPLY_BYTES:
            self.current = min(self._maximum, self.current * 2)
