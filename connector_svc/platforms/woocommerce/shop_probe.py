"""Finds the API of a store: the first thing that a pass does, and the only one without a key."""

from __future__ import annotations

from typing import Final

import msgspec
from yarl import URL

from connector_svc.domain.errors import (
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnauthorized,
)
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.error_mapping import PERMALINKS_HINT
from connector_svc.platforms.woocommerce.site import Form
from connector_svc.platforms.woocommerce.values import unescaped

_CLOSED: Final = (SourceForbidden, SourceUnauthorized, SourceNotFound, SourceQueryRefused)
_MAYBE: Final = (*_CLOSED, SourceRedirected, SourceResponseInvalid)


class _Index(msgspec.Struct):
    name: str = ""
    home: str = ""
    namespaces: list[str] = []


async def open_store(client: StoreClient) -> str:
    """Notes where the API of the client's store is and what the store signs with; returns the store's name.

    Empty where the index is closed to the anonymous, as some plugins do: WooCommerce's part may be open to its
    keys nevertheless. Raises SourceFailure when what answers is no store.
    """
    first: SourceFailure | None = None
    for form in dict.fromkeys((client.notes.form, *Form)):
        client.form = form
        try:
            index = await _index(client)
        except _MAYBE as failure:
            first = first or failure
            if not _is_elsewhere(failure):
                break
        else:
            client.notes.form, client.notes.home = form, index.home
            return unescaped(index.name)
    client.form = Form.PRETTY
    if isinstance(first, SourceRedirected) and _leads_back(first, client):
        raise SourceNotFound(
            client.shop, f"its API's address redirects to itself, as with plain permalinks. {PERMALINKS_HINT}"
        )
    if first is not None and not (isinstance(first, _CLOSED) or "http_status" in first.metadata):
        raise first
    return ""


def _is_elsewhere(failure: SourceFailure) -> bool:
    """With plain permalinks /wp-json/ is the home page or a redirect; without rewriting there is nothing."""
    page = isinstance(failure, SourceResponseInvalid) and failure.metadata.get("content") == "page"
    return page or isinstance(failure, SourceNotFound | SourceRedirected)


def _leads_back(failure: SourceRedirected, client: StoreClient) -> bool:
    """Whether it is WordPress's own redirect of `/wp-json/`, and not one to another address of the store."""
    try:
        return URL(failure.metadata.get("location", "")).origin() == client.origin
    except ValueError:
        return False


async def _index(client: StoreClient) -> _Index:
    decoder = msgspec.json.Decoder(_Index)
    answer = await client.get("/wp-json/", (("_fields", "name,home"),), decoder.decode, anonymous=True)
    return answer.value
