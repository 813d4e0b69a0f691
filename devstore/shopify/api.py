"""Answers the requests of one Shopify shop.

The error bodies of the Admin API."""

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
from devstore.shopify.context import RequestContext
from devstore.shopify.oauth import PATH as OAUTH_PATH
from devstore.shopify.oauth import Oauth
from devstore.shopify.query_cost import SINGLE_QUERY_MAXIMUM, ChargeReader, actual_cost, requested_cost
from devstore.shopify.quirks import Quirks
from devstore.shopify.rate_limit import LIMITS, LeakyBucket
from devstore.shopify.scalars import SUPPORTED_VERSIONS, resolve_version
from devstore.shopify.schema import admin_schema, resolve_prepared, type_of

_PATH = re.compile(r"admin/api/(?:(?P<version>[^/]+)/)?graphql\.json")
_ONE_PRODUCT = {"product", "productByIdentifier"}
_REMEMBERED_BYTES = 128 * 1024 * 1024
Reply = dict[str, Any]


class ShopifyApi:
    """One shop's Admin API; the bucket is the one of the one app that holds the token."""

    def __init__(self, catalog: Catalog, *, throttle: bool) -> None:
        self._catalog = catalog
        self._schema = admin_schema()
        self._documents = DocumentCache(self._schema)
        self._remembered = ReplyCache(_REMEMBERED_BYTES)
        self.bulk = BulkJobs(field_resolver=resolve_prepared, type_resolver=type_of)
        self.quirks = Quirks()
        self.oauth = Oauth(catalog.spec, self.quirks)
        self.bucket = LeakyBucket(LIMITS[catalog.spec.plan], enforced=throttle)

    async def answer(self, request: web.Request, path: str, site: str, record: RequestRecord) -> web.Response:
        if path == OAUTH_PATH:
            record.operation = "oauth"
            return await self.oauth.answer(request)
        match = _PATH.fullmatch(path)
        version = resolve_version(match["version"] or SUPPORTED_VERSIONS[0]) if match else None
        if version is None or request.method != "POST":
            return _json(NOT_FOUND, status=404)
        version = self.quirks.served_version or version
        headers = {"X-Shopify-API-Version": version, "X-Shopify-Shop-Domain": self._catalog.spec.domain}
        if not self.oauth.knows(request.headers.get("X-Shopify-Access-Token", "")):
            return _json(BAD_TOKEN, status=401, headers=headers)
        asked = await _body(request)
        if asked is None:
            return _json(NO_QUERY, status=400, headers=headers)
        return _json(self._reply(asked, site, record), headers=headers)

    async def file(self, request: web.Request, name: str) -> web.StreamResponse:
        """A result of a bulk operation."""
        return await serve_result(request, name, self.bulk)

    async def close(self) -> None:
        """Ends the jobs that still work."""
        await self.bulk.close()

    def _reply(self, asked: Reply, site: str, record: RequestRecord) -> Reply:
        document = self._documents.read(asked["query"])
        if document.errors:
            return {"errors": worded(document.errors)}
        operation = document.operation(asked.get("operationName"))
        if operation is None:
            return {"errors": [{"message": "An operation name is required"}]}
        record.operation = operation.name.value if operation.name else _root_names(operation)
        return self._charged(document, operation, _variables(asked), site, record)

    def _charged(
        self,
        document: Document,
        operation: OperationDefinitionNode,
        variables: Reply,
        site: str,
        record: RequestRecord,
    ) -> Reply:
        reader = ChargeReader(
            schema=self._schema, fragments=document.fragments, variables=variables, operation=operation
        )
        charges = reader.read()
        ids = variables.get("ids")
        dearer = len(ids) if self.quirks.nodes_charged_per_id and isinstance(ids, list) else 1
        requested = requested_cost(charges) * dearer
        if requested > SINGLE_QUERY_MAXIMUM:
            return max_cost_exceeded(requested)
        self.bucket.drain(self.quirks.other_app_spends)
        if not self.bucket.take(requested):
            record.throttled = True
            return throttled(requested, self.bucket.status())
        call = RequestContext(
            catalog=self._catalog,
            site=site,
            single_product=_single_product(operation),
            bulk=self.bulk,
            quirks=self.quirks,
        )

        def work_out() -> CachedReply:
            result = self._run(document, operation, variables, call)
            return CachedReply(
                data=msgspec.Raw(msgspec.json.encode(result.data)),
                errors=worded(result.errors or ()),
                warnings=call.warnings,
                points=min(requested, actual_cost(charges, result.data) * dearer),
            )

        state = (self._catalog.revision, repr(self.quirks))
        key = (document.text, record.operation, msgspec.json.encode(variables), site, state)
        is_fickle = "bulkOperation" in document.text or self.quirks.is_nondeterministic
        answer = work_out() if is_fickle else self._remembered.get(key, work_out)
        self.bucket.give_back(requested - answer.points)
        record.points = answer.points
        return self._worded(answer, requested)

    def _worded(self, answer: CachedReply, requested: int) -> Reply:
        extensions: Reply = {"cost": cost(requested, answer.points, self.bucket.status())}
        if answer.warnings:
            extensions["search"] = answer.warnings
        errors = {"errors": answer.errors} if answer.errors else {}
        return {"data": answer.data, **errors, "extensions": extensions}

    def _run(
        self, document: Document, operation: OperationDefinitionNode, variables: Reply, call: RequestContext
    ) -> ExecutionResult:
        assert document.tree is not None
        return execute_sync(
            self._schema,
            document.tree,
            context_value=call,
            variable_values=variables,
            operation_name=operation.name.value if operation.name else None,
            field_resolver=resolve_prepared,
            type_resolver=type_of,
        )


async def _body(request: web.Request) -> Reply | None:
    try:
        asked = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return asked if isinstance(asked, dict) and isinstance(asked.get("query"), str) else None


def _variables(asked: Reply) -> Reply:
    variables = asked.get("variables")
    return variables if isinstance(variables, dict) else {}


def _single_product(operation: OperationDefinitionNode) -> bool:
    return len(operation.selection_set.selections) == 1 and _root_names(operation) in _ONE_PRODUCT


def _root_names(operation: OperationDefinitionNode) -> str:
    names = (getattr(s, "name", None) for s in operation.selection_set.selections)
    return ",".join(name.value for name in names if name)


def _json(body: Reply, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


_LIMITS_PAGE = "https://shopify.dev/api/usage/rate-limits"
BAD_TOKEN = {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}
NOT_FOUND = {"errors": "Not Found"}
NO_QUERY = {"errors": {"query": "Required parameter missing or invalid"}}


def throttled(requested: int, status: dict[str, float]) -> dict[str, Any]:
    """The bucket does not hold the requested cost."""
    error = {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": _LIMITS_PAGE}}
    return {"errors": [error], "extensions": {"cost": cost(requested, None, status)}}


def max_cost_exceeded(requested: int) -> dict[str, Any]:
    """No bucket would ever allow the query."""
    message = (
        f"Query cost is {requested}, which exceeds the single query max cost limit ({SINGLE_QUERY_MAXIMUM}).\n\n"
        f"See {_LIMITS_PAGE} for more information on how the cost of a query is calculated."
    )
    extensions = {
        "code": "MAX_COST_EXCEEDED",
        "cost": requested,
        "maxCost": SINGLE_QUERY_MAXIMUM,
        "documentation": _LIMITS_PAGE,
    }
    return {"errors": [{"message": message, "extensions": extensions}]}


def cost(requested: int, actual: int | None, status: dict[str, float]) -> dict[str, Any]:
    """`extensions.cost`."""
    return {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status}


def worded(errors: Iterable[GraphQLError]) -> list[dict[str, Any]]:
    """Errors as the reply lists them; an internal one carries the request id that support asks for."""
    lines: list[dict[str, Any]] = [dict(error.formatted) for error in errors]
    for line in lines:
        extensions = line.get("extensions")
        if extensions and extensions.get("code") == "INTERNAL_SERVER_ERROR":
            line["extensions"] = {**extensions, "requestId": str(uuid.uuid4())}
    return lines
