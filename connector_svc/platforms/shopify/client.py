"""The GraphQL client of one shop, for the duration of one pass."""

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
from connector_svc.platforms.base import Credentials, CredentialsProvider, HttpReply, QueryPointMeter, ShopHttp
from connector_svc.platforms.shopify.error_mapping import (
    MaxCostExceeded,
    ReplyUndecodable,
    ReplyUnusable,
    ShopifyInternalError,
    failure_for_status,
    internal_error,
    raise_for_errors,
)
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse, QueryCost, decode_response
from connector_svc.platforms.shopify.queries import API_VERSION, FILE_HOSTS, PATH, Query, Variables
from connector_svc.platforms.shopify.rate_limiter import RateLimiter

_log = logging.getLogger(__name__)
DataT = TypeVar("DataT")

_DECODE_ATTEMPTS = 4
"""Attempts of a call whose reply cannot be decoded."""


class ShopifyClient:
    """Calls the Admin API: renews refused credentials, obeys the rate limit, checks the version that answers.

    A reply from a newer version than requested is used: Shopify serves it once ours has been retired, and stopping
    every sync in that minute would be worse than continuing with a query that the newer version still accepts. But
    it is reported in `warnings`, and a pass with warnings deletes nothing. A reply from an older version is
    rejected: Shopify never sends one, so something else answers.
    """

    def __init__(
        self,
        shop: Shop,
        *,
        http: ShopHttp,
        credentials: CredentialsProvider,
        clock: Callable[[], datetime],
        on_wait: WaitReporter,
        retry_delay: timedelta = timedelta(milliseconds=250),
        query_points: QueryPointMeter | None = None,
    ) -> None:
        self.shop = shop
        self.served_version = ""
        self._clock = clock
        self._on_wait = on_wait
        self._retry_delay = retry_delay
        self._http = http
        self._credentials_provider = credentials
        self._rate_limiter = RateLimiter(clock, on_wait, query_points)
        self._unexpected_versions: set[str] = set()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why the replies may not mean what we assume."""
        return tuple(
            f"Shopify answered with API version {version} instead of {API_VERSION}"
            for version in sorted(self._unexpected_versions)
        )

    async def call(self, query: Query, variables: Variables) -> GraphqlResponse:
        """Send a query and return its response, which has data; its errors, if any, are each about one record.

        Waits for the rate limit without a time limit. Repeats an idempotent query whose reply cannot be decoded,
        with exponential backoff.

        Raises:
            SourceFailure: The shop cannot be read.
            MaxCostExceeded: The query is too expensive at this page size.
            ShopifyInternalError: Shopify failed internally.
            ReplyUnusable: The reply is too large or invalid, and more than one record was requested.
        """
        size = int(variables.get("first", 0)) or len(variables.get("ids", ()))
        body = msgspec.json.encode({"query": query.text, "variables": variables})
        for attempt in itertools.count(1):
            response = await self._call_until_decodable(query, size, body)
            if not response.has_error("THROTTLED"):
                raise_for_errors(self.shop, response)
                return response
            if self._rate_limiter.exceeds_bucket(response.cost):
                raise MaxCostExceeded
            await self._rate_limiter.wait_after_throttled(response.cost, attempt)
        raise AssertionError("itertools.count does not end")

    async def call_or_fail(self, query: Query, variables: Variables) -> GraphqlResponse:
        """Send a query whose page size cannot be reduced: like `call`, but internal errors are SourceUnreachable.

        Raises:
            SourceFailure: The shop cannot be read.
        """
        try:
            return await self.call(query, variables)
        except (ShopifyInternalError, MaxCostExceeded) as error:
            raise internal_error(self.shop) from error

    def cost_of(self, query: Query, size: int) -> float:
        """Return the points that `query` for `size` records requests, reported or estimated."""
        return self._rate_limiter.cost_of(query, size)

    def decode(self, response: GraphqlResponse, decoder: msgspec.json.Decoder[DataT]) -> DataT:
        """Decode the data of a response. Raises SourceResponseInvalid when it does not follow the schema."""
        try:
            return decoder.decode(response.data or b"")
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self.shop, "a reply that does not follow Shopify's schema") from error

    def download(self, url: str, *, max_bytes: int) -> AsyncGenerator[bytes, None]:
        """Download the result of a bulk operation, without sending the token; see `ShopHttp.download`."""
        return self._http.download(url, hosts=FILE_HOSTS, max_bytes=max_bytes)

    async def _call_until_decodable(self, query: Query, size: int, body: bytes) -> GraphqlResponse:
        attempts = _DECODE_ATTEMPTS if query.idempotent else 1
        for failures in itertools.count():
            try:
                return await self._call_rate_limited(query, size, body)
            except ReplyUndecodable as error:
                if failures + 1 >= attempts:
                    raise error.failure(self.shop) from error
                await self._back_off(self._retry_delay * 2**failures)
        raise AssertionError("itertools.count does not end")

    async def _back_off(self, delay: timedelta) -> None:
        _log.warning("retrying after an undecodable reply", extra={"shop": str(self.shop)})
        until = self._clock() + delay
        message = "Shopify's reply cannot be decoded; retrying"
        self._on_wait(Wait(reason=WaitReason.SOURCE_UNREACHABLE, until=until, message=message))
        await asyncio.sleep(delay.total_seconds())

    async def _call_rate_limited(self, query: Query, size: int, body: bytes) -> GraphqlResponse:
        reservation = await self._rate_limiter.acquire(query, size)
        cost: QueryCost | None = None
        try:
            response = self._decode_reply(
                await self._request(body, can_shrink=size > 1, idempotent=query.idempotent)
            )
            cost = response.cost
            return response
        finally:
            self._rate_limiter.release(reservation, cost)

    async def _request(self, body: bytes, *, can_shrink: bool, idempotent: bool) -> HttpReply:
        try:
            return await self._send(body, idempotent)
        except SourceResponseInvalid as failure:
            if can_shrink:
                raise ReplyUnusable from failure
            raise

    async def _send(self, body: bytes, idempotent: bool) -> HttpReply:
        """Send the request; after a 401, once more with new credentials."""
        credentials = await self._credentials_provider.credentials(self.shop)
        reply = await self._post(body, credentials, idempotent)
        if reply.status == 401:
            credentials = await self._credentials_provider.credentials(self.shop, refused=credentials)
            reply = await self._post(body, credentials, idempotent)
            if reply.status == 401:
                raise SourceUnauthorized(self.shop)
        return reply

    async def _post(self, body: bytes, credentials: Credentials, idempotent: bool) -> HttpReply:
        token = credentials.get("access_token")
        if token is None:
            raise CredentialsNotFound(self.shop, "the credentials contain no access_token")
        headers = {
            "X-Shopify-Access-Token": token.reveal(),
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        return await self._http.request("POST", PATH, headers=headers, body=body, idempotent=idempotent)

    def _decode_reply(self, reply: HttpReply) -> GraphqlResponse:
        failure = failure_for_status(self.shop, reply.status)
        if failure is not None:
            raise failure
        try:
            response = decode_response(reply)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ReplyUndecodable(reply.body) from error
        self._check_version(response.served_version)
        return response

    def _check_version(self, version: str) -> None:
        self.served_version = version
        name = version or "unknown"
        if name == API_VERSION or name in self._unexpected_versions:
            return
        if name < API_VERSION:
            raise SourceQueryRefused(self.shop, f"version {name} answered, {API_VERSION} was requested")
        self._unexpected_versions.add(name)
        _log.warning("unexpected API version", extra={"shop": str(self.shop), "served_version": version})
