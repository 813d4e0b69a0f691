"""The Admin GraphQL API of one Shopify shop: authentication, throttling by query cost, execution, errors."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode
from graphql.execution import execute_sync

from devstore.catalog.catalog import Catalog
from devstore.request_log import RequestRecord
from devstore.shopify.bulk_jobs import BulkJobs, serve_result
from devstore.shopify.cache import CachedReply, Document, DocumentCache, ReplyCache
from devstore.shopify.context import RequestContext, resolve_default, resolve_type
from devstore.shopify.oauth import PATH as OAUTH_PATH
from devstore.shopify.oauth import OAuthServer
from devstore.shopify.query_cost import SINGLE_QUERY_MAXIMUM, ChargeReader, actual_cost, requested_cost
from devstore.shopify.quirks import Quirks
from devstore.shopify.rate_limit import LIMITS, LeakyBucket
from devstore.shopify.scalars import SUPPORTED_VERSIONS, resolve_version
from devstore.shopify.schema import admin_schema
from devstore.shopify.webhooks import DELIVERY_POLICY, ShopifyWebhooks
from devstore.webhooks.sender import WebhookSender

_GRAPHQL_PATH = re.compile(r"admin/api/(?:(?P<version>[^/]+)/)?graphql\.json")
_SINGLE_PRODUCT_FIELDS = {"product", "productByIdentifier"}
_REPLY_CACHE_BYTES = 128 * 1024 * 1024
_RATE_LIMITS_PAGE = "https://shopify.dev/api/usage/rate-limits"
_INVALID_TOKEN = {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}
_NOT_FOUND = {"errors": "Not Found"}
_MISSING_QUERY = {"errors": {"query": "Required parameter missing or invalid"}}
Json = dict[str, Any]


class ShopifyApi:
    """The Admin API of one shop. There is one app, which all tokens and the bucket belong to."""

    def __init__(self, catalog: Catalog, *, throttle: bool) -> None:
        self._catalog = catalog
        self._schema = admin_schema()
        self._documents = DocumentCache(self._schema)
        self._reply_cache = ReplyCache(_REPLY_CACHE_BYTES)
        self.bulk = BulkJobs()
        self.quirks = Quirks()
        self.oauth = OAuthServer(catalog.spec, self.quirks)
        self.sender = WebhookSender(DELIVERY_POLICY)
        self.webhooks = ShopifyWebhooks(catalog, self.sender, secret=self.oauth.client_secret)
        catalog.on_change = self.webhooks.notify
        self.bucket = LeakyBucket(LIMITS[catalog.spec.plan], enforced=throttle)

    async def answer(self, request: web.Request, path: str, site: str, record: RequestRecord) -> web.Response:
        if path == OAUTH_PATH:
            record.operation = "oauth"
            return await self.oauth.answer(request)
        match = _GRAPHQL_PATH.fullmatch(path)
        version = resolve_version(match["version"] or SUPPORTED_VERSIONS[0]) if match else None
        if version is None or request.method != "POST":
            return _json(_NOT_FOUND, status=404)
        version = self.quirks.served_version or version
        headers = {"X-Shopify-API-Version": version, "X-Shopify-Shop-Domain": self._catalog.spec.domain}
        if not self.oauth.is_valid(request.headers.get("X-Shopify-Access-Token", "")):
            return _json(_INVALID_TOKEN, status=401, headers=headers)
        body = await _parse_body(request)
        if body is None:
            return _json(_MISSING_QUERY, status=400, headers=headers)
        return _json(self._reply(body, site, record), headers=headers)

    async def file(self, request: web.Request, name: str) -> web.StreamResponse:
        """Send the result file of a bulk operation."""
        return await serve_result(request, name, self.bulk)

    async def close(self) -> None:
        """Cancel the running bulk operations."""
        await self.bulk.close()

    def _reply(self, body: Json, site: str, record: RequestRecord) -> Json:
        document = self._documents.read(body["query"])
        if document.errors:
            return {"errors": _formatted(document.errors)}
        operation = document.operation(body.get("operationName"))
        if operation is None:
            return {"errors": [{"message": "An operation name is required"}]}
        record.operation = operation.name.value if operation.name else _root_field_names(operation)
        return self._throttled_reply(document, operation, _variables(body), site, record)

    def _throttled_reply(
        self,
        document: Document,
        operation: OperationDefinitionNode,
        variables: Json,
        site: str,
        record: RequestRecord,
    ) -> Json:
        """Take the requested cost from the bucket, execute the query and refund what it did not cost."""
        charges = ChargeReader(
            schema=self._schema, fragments=document.fragments, variables=variables, operation=operation
        ).read()
        cost_factor = self._cost_factor(variables)
        requested = requested_cost(charges) * cost_factor
        if requested > SINGLE_QUERY_MAXIMUM:
            return max_cost_exceeded(requested)
        self.bucket.drain(self.quirks.other_app_spends)
        if not self.bucket.take(requested):
            record.throttled = True
            return throttled(requested, self.bucket.status())

        def compute() -> CachedReply:
            result, warnings = self._execute(document, operation, variables, site)
            return CachedReply(
                data=msgspec.Raw(msgspec.json.encode(result.data)),
                errors=_formatted(result.errors or ()),
                warnings=warnings,
                points=min(requested, actual_cost(charges, result.data) * cost_factor),
            )

        state = (self._catalog.revision, repr(self.quirks))
        key = (document.text, record.operation, msgspec.json.encode(variables), site, state)
        has_state = "bulkOperation" in document.text or "webhookSubscription" in document.text
        is_cacheable = not has_state and not self.quirks.is_nondeterministic
        reply = self._reply_cache.get(key, compute) if is_cacheable else compute()
        self.bucket.refund(requested - reply.points)
        record.points = reply.points
        return self._with_cost(reply, requested)

    def _cost_factor(self, variables: Json) -> int:
        ids = variables.get("ids")
        return len(ids) if self.quirks.nodes_charged_per_id and isinstance(ids, list) else 1

    def _with_cost(self, reply: CachedReply, requested: int) -> Json:
        extensions: Json = {"cost": _cost_extension(requested, reply.points, self.bucket.status())}
        if reply.warnings:
            extensions["search"] = reply.warnings
        errors = {"errors": reply.errors} if reply.errors else {}
        return {"data": reply.data, **errors, "extensions": extensions}

    def _execute(
        self, document: Document, operation: OperationDefinitionNode, variables: Json, site: str
    ) -> tuple[ExecutionResult, list[dict[str, object]]]:
        """Return the result of an operation and its search warnings."""
        assert document.tree is not None
        context = RequestContext(
            catalog=self._catalog,
            site=site,
            single_product=_is_single_product(operation),
            bulk=self.bulk,
            quirks=self.quirks,
            webhooks=self.webhooks,
        )
        result = execute_sync(
            self._schema,
            document.tree,
            context_value=context,
            variable_values=variables,
            operation_name=operation.name.value if operation.name else None,
            field_resolver=resolve_default,
            type_resolver=resolve_type,
        )
        return result, context.warnings


# -- requests


async def _parse_body(request: web.Request) -> Json | None:
    """Return the JSON body; None when it is invalid or has no query."""
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return body if isinstance(body, dict) and isinstance(body.get("query"), str) else None


def _variables(body: Json) -> Json:
    variables = body.get("variables")
    return variables if isinstance(variables, dict) else {}


def _is_single_product(operation: OperationDefinitionNode) -> bool:
    is_single = len(operation.selection_set.selections) == 1
    return is_single and _root_field_names(operation) in _SINGLE_PRODUCT_FIELDS


def _root_field_names(operation: OperationDefinitionNode) -> str:
    names = (getattr(s, "name", None) for s in operation.selection_set.selections)
    return ",".join(name.value for name in names if name)


# -- replies


def throttled(requested: int, status: dict[str, float]) -> Json:
    """Return the reply to a query whose requested cost is more than the bucket has."""
    error = {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": _RATE_LIMITS_PAGE}}
    return {"errors": [error], "extensions": {"cost": _cost_extension(requested, None, status)}}


def max_cost_exceeded(requested: int) -> Json:
    """Return the reply to a query whose requested cost is above the maximum of a single query."""
    message = (
        f"Query cost is {requested}, which exceeds the single query max cost limit ({SINGLE_QUERY_MAXIMUM}).\n\n"
        f"See {_RATE_LIMITS_PAGE} for more information on how the cost of a query is calculated."
    )
    extensions = {
        "code": "MAX_COST_EXCEEDED",
        "cost": requested,
        "maxCost": SINGLE_QUERY_MAXIMUM,
        "documentation": _RATE_LIMITS_PAGE,
    }
    return {"errors": [{"message": message, "extensions": extensions}]}


def _cost_extension(requested: int, actual: int | None, status: dict[str, float]) -> Json:
    return {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status}


def _formatted(errors: Iterable[GraphQLError]) -> list[Json]:
    """Return errors as a reply lists them; an internal error has a request id for Shopify's support."""
    formatted: list[Json] = [dict(error.formatted) for error in errors]
    for error in formatted:
        extensions = error.get("extensions")
        if extensions and extensions.get("code") == "INTERNAL_SERVER_ERROR":
            error["extensions"] = {**extensions, "requestId": str(uuid.uuid4())}
    return formatted


def _json(body: Json, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )
