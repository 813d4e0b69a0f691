"""Discover a store's REST API, and read what a pass needs to know of the store.

Discovery is the first step of a pass and the only request without an API key: the index `/wp-json/` is requested
in each address form until one answers with JSON.
"""

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
from connector_svc.platforms.woocommerce.client import AddressForm, StoreClient
from connector_svc.platforms.woocommerce.error_mapping import PERMALINKS_HINT
from connector_svc.platforms.woocommerce.prefetch import background_task
from connector_svc.platforms.woocommerce.wire import unescape_html

_API_VERSION: Final = "wc/v3"
_WEIGHT_UNITS: Final = {"kg": "kg", "g": "g", "lbs": "lb", "oz": "oz"}
_CURRENCY_CODE: Final = re.compile(r"[A-Z]{3}")
_CLOSED_INDEX: Final = (SourceForbidden, SourceUnauthorized, SourceNotFound, SourceQueryRefused)
_DISCOVERY_ERRORS: Final = (*_CLOSED_INDEX, SourceRedirected, SourceResponseInvalid)


class _Index(msgspec.Struct):
    name: str = ""
    home: str = ""
    namespaces: list[str] = []


class _Currency(msgspec.Struct):
    code: str


class _Setting(msgspec.Struct):
    value: str


class _Environment(msgspec.Struct):
    version: str = ""


class _Status(msgspec.Struct):
    environment: _Environment


async def discover_api(client: StoreClient) -> str:
    """Find the address form of the store's API and the store's own address, and save both in the client's state.

    Returns:
        The store's name; empty where the index is closed to anonymous requests, as some plugins do: WooCommerce's
        endpoints may be open to API keys nevertheless.

    Raises:
        SourceFailure: What answers is not a WordPress store.
    """
    first_failure: SourceFailure | None = None
    for form in dict.fromkeys((client.state.address_form, *AddressForm)):
        client.address_form = form
        try:
            index = await _read_index(client)
        except _DISCOVERY_ERRORS as failure:
            first_failure = first_failure or failure
            if not _may_be_another_form(failure):
                break
        else:
            client.state.address_form, client.state.home_url = form, index.home
            return unescape_html(index.name)
    client.address_form = AddressForm.PRETTY
    if isinstance(first_failure, SourceRedirected) and _redirects_to_same_origin(first_failure, client):
        raise SourceNotFound(
            client.shop, f"its API's address redirects to itself, as with plain permalinks. {PERMALINKS_HINT}"
        )
    is_closed = isinstance(first_failure, _CLOSED_INDEX)
    if first_failure is not None and not (is_closed or "http_status" in first_failure.metadata):
        raise first_failure
    return ""


def _may_be_another_form(failure: SourceFailure) -> bool:
    """With plain permalinks /wp-json/ is the home page or a redirect; without URL rewriting it does not exist."""
    is_page = isinstance(failure, SourceResponseInvalid) and failure.metadata.get("content") == "page"
    return is_page or isinstance(failure, SourceNotFound | SourceRedirected)


def _redirects_to_same_origin(failure: SourceRedirected, client: StoreClient) -> bool:
    """Return whether this is WordPress's own redirect of `/wp-json/`, not one to another address of the store."""
    try:
        return URL(failure.metadata.get("location", "")).origin() == client.origin
    except ValueError:
        return False


async def _read_index(client: StoreClient) -> _Index:
    decoder = msgspec.json.Decoder(_Index)
    response = await client.get("/wp-json/", (("_fields", "name,home"),), decoder.decode, anonymous=True)
    return response.value


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreInfo:
    """What a pass needs to know of a store."""

    shop: ShopInfo
    weight_unit: str
    """"kg", "g", "lb" or "oz"; empty: unknown, so weights mean nothing."""


async def read_store_info(client: StoreClient, shop_name: str) -> StoreInfo:
    """Read currency, weight unit and WooCommerce version with a few small concurrent requests.

    Raises:
        SourceFailure: The currency cannot be read.
    """
    async with (
        background_task(_read_weight_unit(client)) as weight_unit_task,
        background_task(_read_version(client)) as version_task,
    ):
        currency = await _read_currency(client)
        weight_unit, version = await weight_unit_task, await version_task
    notes = [] if weight_unit else ["The store's weight unit cannot be read: weights are left out."]
    if client.has_noise:
        notes.append(
            "The store's responses contain output before their JSON, such as PHP notices; ask its host to check."
        )
    info = ShopInfo(
        currency_code=currency,
        platform_shop_id=client.shop.domain,
        display_name=shop_name,
        served_api_version=f"{_API_VERSION}, WooCommerce {version}" if version else _API_VERSION,
        notes=tuple(notes),
    )
    return StoreInfo(shop=info, weight_unit=weight_unit)


async def check_currency(client: StoreClient, info: StoreInfo) -> None:
    """Raise SourceCurrencyChanged when the store's currency is no longer that of `info`."""
    currency = await _read_currency(client)
    if currency != info.shop.currency_code:
        raise SourceCurrencyChanged(client.shop, expected=info.shop.currency_code, received=currency)


async def _read_currency(client: StoreClient) -> str:
    try:
        response = await client.get(
            "/wp-json/wc/v3/data/currencies/current",
            (("_fields", "code"),),
            msgspec.json.Decoder(_Currency).decode,
        )
        code = response.value.code
    except (SourceNotFound, SourceForbidden):
        code = await _read_setting(client, "general/woocommerce_currency")
    if not _CURRENCY_CODE.fullmatch(code):
        raise SourceResponseInvalid(client.shop, "its currency is not an ISO 4217 code")
    return code


async def _read_weight_unit(client: StoreClient) -> str:
    try:
        return _WEIGHT_UNITS.get(await _read_setting(client, "products/woocommerce_weight_unit"), "")
    except (SourceNotFound, SourceForbidden, SourceResponseInvalid):
        return ""


async def _read_setting(client: StoreClient, name: str) -> str:
    response = await client.get(
        f"/wp-json/wc/v3/settings/{name}", (("_fields", "value"),), msgspec.json.Decoder(_Setting).decode
    )
    return response.value.value


async def _read_version(client: StoreClient) -> str:
    try:
        response = await client.get(
            "/wp-json/wc/v3/system_status",
            (("_fields", "environment.version"),),
            msgspec.json.Decoder(_Status).decode,
        )
    except SourceRateLimited:
        raise
    except SourceFailure:
        # The version is informative only, and on some stores this is the only endpoint that fails.
        return ""
    return response.value.environment.version
