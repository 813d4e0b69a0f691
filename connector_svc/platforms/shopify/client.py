"""Speaks GraphQL to one shop for the length of one pass."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from connector_svc.domain.errors import (
    CredentialsNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
    SourceUnauthorized,
)
from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, CredentialsProvider, HttpReply, ShopHttp
from connector_svc.platforms.shopify.error_mapping import (
    MaxCostExceeded,
    ReplyUndecodable,
    ReplyUnusable,
    failure_for_status,
    raise_for_errors,
)
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse, QueryCost, decode_response
from connector_svc.platforms.shopify.queries import API_VERSION, FILE_HOSTS, PATH, Query, Variables
from connector_svc.platforms.shopify.rate_limiter import RateLimiter

_log = logging.getLogger(__name__)
DataT = TypeVar("DataT")

_TRIES = 4
"""Of a call whose reply cannot be decoded."""


class ShopifyClient:
    """Calls the Admin API; keeps the token fresh, the pace and an eye on the version that answers.

    A reply from a newer version than asked is used: Shopify serves it once ours has been retired, and to stop
    every sync in that minute would be worse than to go on with a query that the newer version still accepts. But
    it is told in `warnings`, and a pass with warnings deletes nothing. A reply from an older version is refused:
    Shopify never does that, so something else answers.
    """

    def __init__(
        self,
        shop: Shop,
        *,
        http: ShopHttp,
        credentials: CredentialsProvider,
        clock: Callable[[], datetime],
        on_wait: WaitReporter,
        pause: timedelta = timedelta(milliseconds=250),
    ) -> None:
        self.shop = shop
        self.served_version = ""
        self._clock = clock
        self._on_wait = on_wait
        self._pause = pause
        self._http = http
        self._provider = credentials
        self._pace = RateLimiter(clock, on_wait)
        self._other_versions: set[str] = set()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes it unsafe to trust that the replies mean what we take them for."""
        return tuple(
            f"Shopify answered with API version {version} instead of {API_VERSION}"
            for version in sorted(self._other_versions)
        )

    async def call(self, query: Query, variables: Variables) -> GraphqlResponse:
        """The answer to `query`, with data; its errors, if any, each blame one record.

        Waits for the rate limit as long as it takes, and asks again when a reply cannot be decoded, doubling the
        pause each time. Raises SourceFailure; MaxCostExceeded, ShopifyInternalError and,
        when more than one record was asked for, ReplyUnusable, which a smaller page may avoid.
        """
        size = int(variables.get("first", 0)) or len(variables.get("ids", ()))
        body = msgspec.json.encode({"query": query.text, "variables": variables})
        for times in itertools.count(1):
            answer = await self._decodable(query, size, body)
            if not answer.has_error("THROTTLED"):
                raise_for_errors(self.shop, answer)
                return answer
            if self._pace.exceeds_bucket(answer.cost):
                raise MaxCostExceeded
            await self._pace.wait_after_throttled(answer.cost, times)
        raise AssertionError("counting has no end")

    def cost_of(self, query: Query, size: int) -> float:
        """The points that `query` for `size` records asks for, as far as we know."""
        return self._pace.cost_of(query, size)

    def decoded(self, answer: GraphqlResponse, decoder: msgspec.json.Decoder[DataT]) -> DataT:
        """The answer's data; raises SourceResponseInvalid when it has another shape than the schema's."""
        try:
            return decoder.decode(answer.data or b"")
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self.shop, "a reply that does not follow Shopify's schema") from error

    def download(self, url: str, *, max_bytes: int) -> AsyncGenerator[bytes, None]:
        """The result of a bulk operation; see `ShopHttp.download`. The token stays here."""
        return self._http.download(url, hosts=FILE_HOSTS, max_bytes=max_bytes)

    async def _decodable(self, query: Query, size: int, body: bytes) -> GraphqlResponse:
        tries = _TRIES if query.idempotent else 1
        for number in itertools.count():
            try:
                return await self._paid(query, size, body)
            except ReplyUndecodable as error:
                if number + 1 >= tries:
                    raise error.failure(self.shop) from error
                await self._back_off(self._pause * 2**number)
        raise AssertionError("counting has no end")

    async def _back_off(self, delay: timedelta) -> None:
        _log.warning("a reply cannot be decoded; asking again", extra={"shop": str(self.shop)})
        until = self._clock() + delay
        message = "Shopify's reply cannot be read; we ask again"
        self._on_wait(Wait(reason=WaitReason.SOURCE_UNREACHABLE, until=until, message=message))
        await asyncio.sleep(delay.total_seconds())

    async def _paid(self, query: Query, size: int, body: bytes) -> GraphqlResponse:
        ticket = await self._pace.before(query, size)
        cost: QueryCost | None = None
        try:
            answer = self._answer(await self._received(body, can_shrink=size > 1, idempotent=query.idempotent))
            cost = answer.cost
            return answer
        finally:
            self._pace.after(ticket, cost)

    async def _received(self, body: bytes, *, can_shrink: bool, idempotent: bool) -> HttpReply:
        try:
            return await self._send(body, idempotent)
        except SourceResponseInvalid as failure:
            if can_shrink:
                raise ReplyUnusable from failure
            raise

    async def _send(self, body: bytes, idempotent: bool) -> HttpReply:
        held = await self._provider.credentials(self.shop)
        reply = await self._post(body, held, idempotent)
        if reply.status == 401:
            held = await self._provider.credentials(self.shop, refused=held)
            reply = await self._post(body, held, idempotent)
            if reply.status == 401:
                raise SourceUnauthorized(self.shop)
        return reply

    async def _post(self, body: bytes, credentials: Credentials, idempotent: bool) -> HttpReply:
        token = credentials.get("access_token")
        if token is None:
            raise CredentialsNotFound(self.shop, "the credentials hold no access_token")
        headers = {
            "X-Shopify-Access-Token": token.reveal(),
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        return await self._http.request("POST", PATH, headers=headers, body=body, idempotent=idempotent)

    def _answer(self, reply: HttpReply) -> GraphqlResponse:
        failure = failure_for_status(self.shop, reply.status)
        if failure is not None:
            raise failure
        try:
            answer = decode_response(reply)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ReplyUndecodable(reply.body) from error
        self._note_version(answer.served_version)
        return answer

    def _note_version(self, version: str) -> None:
        self.served_version = version
        name = version or "unknown"
        if name == API_VERSION or name in self._other_versions:
            return
        if name < API_VERSION:
            raise SourceQueryRefused(self.shop, f"version {name} answered, {API_VERSION} was asked")
        self._other_versions.add(name)
        _log.warning("another API version answers", extra={"shop": str(self.shop), "served_version": version})
