"""Finds the API of a store: the first thing that a pass does, and the only one without a key.

What a store tells about itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec
from yarl import URL

from connector_svc.domain.errors import (
    SourceCurrencyChanged,
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceRateLimited,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnauthorized,
)
from connector_svc.domain.shop import ShopInfo
from connector_svc.platforms.woocommerce.client import Form, StoreClient
from connector_svc.platforms.woocommerce.error_mapping import PERMALINKS_HINT
from connector_svc.platforms.woocommerce.prefetch import started
from connector_svc.platforms.woocommerce.wire import unescaped

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


API: Final = "wc/v3"
_WEIGHT_UNITS: Final = {"kg": "kg", "g": "g", "lbs": "lb", "oz": "oz"}
_CURRENCY: Final = re.compile(r"[A-Z]{3}")


class _Currency(msgspec.Struct):
    code: str


class _Setting(msgspec.Struct):
    value: str


class _Environment(msgspec.Struct):
    version: str = ""


class _Status(msgspec.Struct):
    environment: _Environment


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreFacts:
    """What a pass needs to know of a store."""

    shop: ShopInfo
    weight_unit: str
    """"kg", "g", "lb", "oz"; empty: unknown, so that weights mean nothing."""


async def read_facts(client: StoreClient, name: str) -> StoreFacts:
    """Reads them, but for the store's name, with a few small calls at once.

    Raises SourceFailure when the currency cannot be read.
    """
    async with started(_weight_unit(client)) as weight, started(_version(client)) as status:
        currency = await _currency(client)
        unit, version = await weight, await status
    notes = [] if unit else ["The store's unit of weight cannot be read: weights are left out."]
    if client.noise:
        notes.append("The store prints something before its JSON, such as notices of PHP; its host should look.")
    facts = ShopInfo(
        currency_code=currency,
        platform_shop_id=client.shop.domain,
        shop_name=name,
        served_api_version=f"{API}, WooCommerce {version}" if version else API,
        notes=tuple(notes),
    )
    return StoreFacts(shop=facts, weight_unit=unit)


async def check_currency(client: StoreClient, facts: StoreFacts) -> None:
    """Raises SourceCurrencyChanged when the store sells in another currency than `facts` say."""
    currency = await _currency(client)
    if currency != facts.shop.currency_code:
        raise SourceCurrencyChanged(client.shop, expected=facts.shop.currency_code, received=currency)


async def _currency(client: StoreClient) -> str:
    try:
        answer = await client.get(
            "/wp-json/wc/v3/data/currencies/current",
            (("_fields", "code"),),
            msgspec.json.Decoder(_Currency).decode,
        )
        code = answer.value.code
    except (SourceNotFound, SourceForbidden):
        code = await _setting(client, "general/woocommerce_currency")
    if not _CURRENCY.fullmatch(code):
        raise SourceResponseInvalid(client.shop, "its currency is no ISO 4217 code")
    return code


async def _weight_unit(client: StoreClient) -> str:
    try:
        return _WEIGHT_UNITS.get(await _setting(client, "products/woocommerce_weight_unit"), "")
    except (SourceNotFound, SourceForbidden, SourceResponseInvalid):
        return ""


async def _setting(client: StoreClient, name: str) -> str:
    answer = await client.get(
        f"/wp-json/wc/v3/settings/{name}", (("_fields", "value"),), msgspec.json.Decoder(_Setting).decode
    )
    return answer.value.value


async def _version(client: StoreClient) -> str:
    try:
        answer = await client.get(
            "/wp-json/wc/v3/system_status",
            (("_fields", "environment.version"),),
            msgspec.json.Decoder(_Status).decode,
        )
    except SourceRateLimited:
        raise
    except SourceFailure:
        # Nice to know; on some stores it is the one page that fails.
        return ""
    return answer.value.environment.version
