"""How many records to ask for at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from connector_svc.domain.errors import SourceUnreachable
from connector_svc.platforms.shopify.error_mapping import MaxCostExceeded, ReplyUnusable, ShopifyInternalError
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse

_log = logging.getLogger(__name__)

_REPLY_TARGET = 8 * 1024 * 1024
"""Bytes of a reply above which pages get smaller: memory must not follow the merchant's habits."""
_LEAP = 10


class PageSize:
    """Starts at the largest page; halves when the platform cannot serve it, doubles after each success.

    Several calls may ask at once; what fails for all of them counts once. A size that was too dear is never tried
    again. When the shop did not answer at all after the HTTP client's
    whole patience, the page shrinks to a tenth once instead of halving, since each try costs minutes.
    """

    def __init__(self, largest: int, *, pause: timedelta) -> None:
        self.current = largest
        self._ceiling = largest
        self._pause = pause

    async def ask(self, call: Callable[[int], Awaitable[GraphqlResponse]]) -> GraphqlResponse:
        """The answer of `call` at a size that the platform serves.

        Raises MaxCostExceeded or ShopifyInternalError when it cannot serve a single record, and SourceFailure.
        """
        while True:
            asked = self.current
            try:
                answer = await call(asked)
            except MaxCostExceeded:
                if asked == 1:
                    raise
                self._shrink(asked // 2)
                self._ceiling = min(self._ceiling, asked // 2)
            except ShopifyInternalError as stumble:
                _log.warning("Shopify failed inside", extra={"page": asked, "request_id": str(stumble)})
                await asyncio.sleep(self._pause.total_seconds())
                if asked == 1:
                    raise
                self._shrink(asked // 2)
            except ReplyUnusable:
                self._shrink(asked // 2)
            except SourceUnreachable:
                if asked <= self._ceiling // _LEAP or asked == 1:
                    raise
                self._shrink(asked // _LEAP)
            else:
                self._learn(answer.size)
                return answer

    def _shrink(self, size: int) -> None:
        self.current = max(1, min(self.current, size))

    def _learn(self, size: int) -> None:
        if size > _REPLY_TARGET:
            self.current = max(1, self.current // 2)
        elif size * 2 <= _REPLY_TARGET:
            self.current = min(self._ceiling, self.current * 2)
