"""The REST resource of webhooks: /wc/v3/webhooks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec import DecodeError
from msgspec import json as fast_json

from devstore.woocommerce.errors import RestError
from devstore.woocommerce.json_fields import Json
from devstore.woocommerce.routes import ApiRequest, BodyAndHeaders, Route
from devstore.woocommerce.urls import list_headers
from devstore.woocommerce.webhooks import WooWebhooks

_READ: Final = frozenset({"GET", "HEAD"})
_CHANGE: Final = frozenset({"PUT", "POST", "PATCH"})


def webhook_routes(webhooks: WooWebhooks) -> Iterable[Route]:
    """Return the routes of a shop's webhooks."""

    def list_all(request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        params = request.http.query
        number, size = int(params.get("page", 1)), int(params.get("per_page", 10))
        found = webhooks.list(params.get("status", "all"))
        headers = list_headers(
            request.site, request.route, params.items(), page=number, per_page=size, total=len(found)
        )
        return found[(number - 1) * size : number * size], {"Allow": "GET, POST", **headers}

    def get(request: ApiRequest, match: re.Match[str]) -> BodyAndHeaders:
        return webhooks.get(int(match[1])).to_json(), {}

    def create(request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        created = webhooks.create(_json_object(request.body), request.site).to_json()
        return created, {"Location": f"{request.url}/{created['id']}"}

    def update(request: ApiRequest, match: re.Match[str]) -> BodyAndHeaders:
        return webhooks.update(int(match[1]), _json_object(request.body)).to_json(), {}

    def delete(request: ApiRequest, match: re.Match[str]) -> BodyAndHeaders:
        if request.http.query.get("force") != "true":
            raise RestError(501, "woocommerce_rest_trash_not_supported", "Webhooks do not support trashing.")
        return webhooks.delete(int(match[1])).to_json(), {}

    many, one = re.compile("wc/v3/webhooks"), re.compile(r"wc/v3/webhooks/(\d+)")
    yield Route(name="webhooks", pattern=many, handler=list_all, methods=_READ)
    yield Route(name="create_webhook", pattern=many, handler=create, methods=frozenset({"POST"}), status=201)
    yield Route(name="webhook", pattern=one, handler=get, single=True, methods=_READ)
    yield Route(name="update_webhook", pattern=one, handler=update, single=True, methods=_CHANGE)
    yield Route(name="delete_webhook", pattern=one, handler=delete, single=True, methods=frozenset({"DELETE"}))


def _json_object(body: bytes) -> Json:
    try:
        return fast_json.decode(body, type=dict[str, object])
    except (DecodeError, UnicodeDecodeError):
        raise RestError(400, "rest_invalid_json", "Invalid JSON body passed.") from None
