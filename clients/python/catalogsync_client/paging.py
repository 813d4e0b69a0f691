"""Iterates over all pages of a list."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar


class PageRequest(Protocol):
    """The request of a paged list."""

    page_token: str

    def CopyFrom(self, other: Any, /) -> None: ...


class Page(Protocol):
    """A page of a list."""

    @property
    def next_page_token(self) -> str: ...


TRequest = TypeVar("TRequest", bound=PageRequest)
TPage = TypeVar("TPage", bound=Page)
TRecord = TypeVar("TRecord")


async def iterate_pages(
    fetch: Callable[[TRequest], Awaitable[TPage]],
    request: TRequest,
    records: Callable[[TPage], Iterable[TRecord]],
) -> AsyncGenerator[TRecord, None]:
    """Yield the records of all pages, beginning with the page_token of the request. One page is held at a time.

    Args:
        fetch: returns the page of a request.
        request: is not changed.
        records: returns the records of a page.
    """
    next_request = type(request)()
    next_request.CopyFrom(request)
    while True:
        page = await fetch(next_request)
        for record in records(page):
            yield record
        if not page.next_page_token:
            return
        next_request.page_token = page.next_page_token
