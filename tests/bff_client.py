"""A client of the BFF for tests: what a browser sends, and what it reads of an event stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from multidict import CIMultiDictProxy

from tests.waiting import within_timeout

API = "/api/v1/catalog"
PAGE_HEADERS = {"X-Requested-With": "catalogsync"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response that was read."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def envelope(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content

    @property
    def data(self) -> Any:
        """The data of a response that must have some."""
        assert self.envelope["error"] is None, self.envelope
        return self.envelope["data"]

    @property
    def code(self) -> str:
        """The code of a response that must be an error."""
        assert self.envelope["data"] is None
        code: str = self.envelope["error"]["code"]
        return code


@dataclass(frozen=True, kw_only=True)
class SentEvent:
    """A server-sent event."""

    name: str
    event_id: str
    content: Any


class EventReader:
    """Reads an event stream; comments are counted."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments = 0
        self.retry: int | None = None

    async def next(self, *names: str) -> SentEvent:
        """Return the next event, of those with these names if there are some."""
        async with asyncio.timeout(60):
            async for event in self.events():
                if not names or event.name in names:
                    return event
        raise EOFError("the stream has ended")

    async def rest(self) -> list[SentEvent]:
        """Return all events up to the end of the stream."""
        async with asyncio.timeout(60):
            return [event async for event in self.events()]

    async def events(self) -> AsyncGenerator[SentEvent, None]:
        """Yield events until the stream ends."""
        fields: dict[str, str] = {}
        async for raw in self.response.content:
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield SentEvent(
                    name=fields.get("event", "message"),
                    event_id=fields.get("id", ""),
                    content=json.loads(fields["data"]),
                )
                fields = {}
            elif "retry" in fields:
                self.retry = int(fields.pop("retry"))


class BffClient:
    """A browser, or a program, that calls one BFF."""

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Create a client.

        Args:
            url: the origin of the BFF.
            headers: sent with each request.
        """
        self.url = url
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(limit=0),
            headers={**PAGE_HEADERS, **(headers or {})},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @property
    def cookie(self) -> str:
        """The session, as the value of a Cookie header."""
        return "; ".join(f"{cookie.key}={cookie.value}" for cookie in self._session.cookie_jar)

    async def log_in(self) -> Answer:
        """Begin a development session."""
        answer = await self.call("POST", "/session/dev")
        assert answer.status == 201, answer.body
        return answer

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        """Return the response to a request."""

        async def answer() -> Answer:
            async with self._session.request(
                method, f"{self.url}{path}", allow_redirects=False, **options
            ) as response:
                return Answer(status=response.status, headers=response.headers, body=await response.read())

        return await within_timeout(answer())

    async def get(self, path: str, **options: Any) -> Answer:
        """Return the response to a GET request below the API."""
        return await self.call("GET", f"{API}{path}", **options)

    async def post(self, path: str, **options: Any) -> Answer:
        """Return the response to a POST request below the API."""
        return await self.call("POST", f"{API}{path}", **options)

    @asynccontextmanager
    async def stream(
        self, path: str, *, last_event_id: str = "", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[EventReader]:
        """Yield the events of a stream below the API."""
        headers = {**({"Last-Event-ID": last_event_id} if last_event_id else {}), **(headers or {})}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(f"{self.url}{API}{path}", headers=headers, timeout=timeout) as response:
            assert response.status == 200, await response.text()
            yield EventReader(response)
