"""Resolvers of the root fields, and of the mutations and queries of bulk operations."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from devstore.catalog.model import Product
from devstore.shopify import listing
from devstore.shopify.bulk_jobs import ENDED, MAX_ACTIVE_JOBS
from devstore.shopify.bulk_query import BulkQueryRunner, bulk_query_errors
from devstore.shopify.context import MAX_PAGE_SIZE, Info, RequestContext, client_error
from devstore.shopify.pagination import Connection, page
from devstore.shopify.scalars import SHOP_ZONE_NAME, SUPPORTED_VERSIONS, gid, parse_gid
from devstore.shopify.search import parse_search
from devstore.spec import Plan

_PLAN_NAMES = {Plan.STANDARD: "Basic", Plan.ADVANCED: "Advanced", Plan.PLUS: "Shopify Plus"}


def _products(_: Any, info: Info, **args: Any) -> Connection:
    return listing.products(info.context, args)


def _variants(_: Any, info: Info, **args: Any) -> Connection:
    return listing.variants(info.context, args)


def _products_count(_: Any, info: Info, **args: Any) -> dict[str, Any]:
    return listing.count(len(listing.product_keys(info.context, args.get("query"))), args)


def _variants_count(_: Any, info: Info, **args: Any) -> dict[str, Any]:
    return listing.count(len(listing.variant_keys(info.context, args.get("query"))), args)


def node(_: Any, info: Info, id: str) -> Any:
    """Return the object with this global id; None when it is unknown, of another shop, or not modelled."""
    parsed = parse_gid(id)
    if parsed is None:
        raise client_error(f"Invalid global id '{id}'", "RESOURCE_NOT_FOUND")
    kind, number = parsed
    context: RequestContext = info.context
    if kind == "Product":
        if context.quirks.null_nodes and context.quirks.random.random() < context.quirks.null_nodes:
            return None
        return context.catalog.product(number)
    if kind == "ProductVariant":
        return context.catalog.variant(number)
    return _shop(None, info) if kind == "Shop" else None


def _nodes(_: Any, info: Info, ids: list[str]) -> list[Any]:
    if len(ids) > MAX_PAGE_SIZE:
        text = f"The input array size of {len(ids)} is greater than the maximum allowed of {MAX_PAGE_SIZE}."
        raise client_error(text, "MAX_INPUT_SIZE_EXCEEDED")
    context: RequestContext = info.context
    vanished = {gid("Product", number) for number in context.quirks.vanished}
    return [None if one in vanished else node(None, info, one) for one in ids]


def _by_id(kind: str) -> Callable[..., Any]:
    def resolve(_: Any, info: Info, id: str) -> Any:
        parsed = parse_gid(id)
        if parsed is None or parsed[0] != kind:
            raise client_error("Invalid id: " + id, "RESOURCE_NOT_FOUND")
        return node(None, info, id)

    return resolve


def _by_identifier(_: Any, info: Info, identifier: dict[str, Any]) -> Product | None:
    context: RequestContext = info.context
    if "id" in identifier:
        product: Product | None = _by_id("Product")(None, info, identifier["id"])
        return product
    if "handle" in identifier:
        found = listing.product_keys(context, f"handle:'{identifier['handle']}'")
        return context.catalog.product(found[0][1]) if found else None
    raise client_error("devstore finds products by id and handle only")


def _events(_: Any, info: Info, **args: Any) -> Connection:
    return listing.events(info.context, args)


def _shop(_: Any, info: Info) -> dict[str, Any]:
    context: RequestContext = info.context
    spec = context.catalog.spec
    plus = spec.plan is Plan.PLUS
    plan = {"publicDisplayName": _PLAN_NAMES[spec.plan], "shopifyPlus": plus, "partnerDevelopment": False}
    limits = {"maxProductVariants": 2048, "maxProductOptions": 3, "locationLimit": 1000}
    return {
        "__typename": "Shop",
        "id": gid("Shop", zlib.crc32(spec.domain.encode())),
        "name": spec.domain.partition(".")[0].replace("-", " ").title(),
        "email": f"owner@{spec.domain}",
        "contactEmail": f"hello@{spec.domain}",
        "myshopifyDomain": context.quirks.myshopify_domain or spec.domain,
        "url": f"https://{spec.domain}",
        "currencyCode": context.quirks.currency_code or spec.currency_code,
        "ianaTimezone": SHOP_ZONE_NAME,
        "timezoneAbbreviation": "EST",
        "timezoneOffset": "-0500",
        "weightUnit": "KILOGRAMS",
        "unitSystem": "METRIC_SYSTEM",
        "plan": plan,
        "resourceLimits": limits,
    }


def _installation(_: Any, info: Info) -> dict[str, Any]:
    context: RequestContext = info.context
    scopes = [{"handle": handle, "description": handle.replace("_", " ")} for handle in context.quirks.scopes]
    return {"__typename": "AppInstallation", "id": gid("AppInstallation", 1), "accessScopes": scopes}


def _api_versions(_: Any, info: Info) -> list[dict[str, Any]]:
    stable = [{"handle": handle, "displayName": handle, "supported": True} for handle in SUPPORTED_VERSIONS]
    return [*stable, {"handle": "unstable", "displayName": "unstable", "supported": False}]


def _with_products_scope(field: str, resolve: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a resolver so that it requires the scope for reading products."""

    def resolve_with_scope(source: Any, info: Info, **args: Any) -> Any:
        info.context.require_scope("products", field)
        return resolve(source, info, **args)

    return resolve_with_scope


_PRODUCTS: Mapping[str, Callable[..., Any]] = {
    "products": _products,
    "product": _by_id("Product"),
    "productByIdentifier": _by_identifier,
    "productVariant": _by_id("ProductVariant"),
    "productVariants": _variants,
    "productsCount": _products_count,
    "productVariantsCount": _variants_count,
}
ROOT: Mapping[str, Callable[..., Any]] = {
    **{field: _with_products_scope(field, resolve) for field, resolve in _PRODUCTS.items()},
    "shop": _shop,
    "node": node,
    "nodes": _nodes,
    "events": _events,
    "currentAppInstallation": _installation,
    "publicApiVersions": _api_versions,
}


def _run_bulk_query(_: Any, info: Info, query: str, groupObjects: bool = False) -> dict[str, Any]:
    context: RequestContext = info.context
    jobs = context.bulk
    if jobs.switches.refuses:
        return _rejected(jobs.switches.refuses, "The bulk operation was refused.")
    errors = bulk_query_errors(info.schema, query)
    if errors:
        return _rejected("INVALID", *errors)
    if len(jobs.active) >= MAX_ACTIVE_JOBS:
        running = ", ".join(job.id for job in jobs.active)
        text = f"The limit of {MAX_ACTIVE_JOBS} bulk query operations for this app and shop is reached: {running}."
        return _rejected("OPERATION_IN_PROGRESS", text)
    runner = BulkQueryRunner(
        schema=info.schema,
        text=query,
        context=RequestContext(catalog=context.catalog, site=context.site, single_product=True, bulk=jobs),
        nested_limit=jobs.switches.nested_limit,
    )
    job = jobs.start(query, runner.pages(), grouped=groupObjects)
    return {"bulkOperation": jobs.to_json(job, context.site), "userErrors": []}


def _cancel_bulk(_: Any, info: Info, id: str) -> dict[str, Any]:
    context: RequestContext = info.context
    job = context.bulk.jobs.get(id)
    if job is None:
        error: dict[str, Any] = {"field": ["id"], "message": "Bulk operation does not exist"}
        return {"bulkOperation": None, "userErrors": [error]}
    if job.status in ENDED:
        error = {"field": None, "message": f"A bulk operation cannot be canceled when it is {job.status.lower()}"}
        return {"bulkOperation": context.bulk.to_json(job, context.site), "userErrors": [error]}
    job.cancel()
    return {"bulkOperation": context.bulk.to_json(job, context.site), "userErrors": []}


def _bulk_operation(_: Any, info: Info, id: str) -> dict[str, Any] | None:
    context: RequestContext = info.context
    job = context.bulk.jobs.get(id)
    return context.bulk.to_json(job, context.site) if job else None


def _bulk_operations(_: Any, info: Info, **args: Any) -> Connection:
    context: RequestContext = info.context
    [terms] = parse_search(args.get("query") or "")[:1]
    filters = {term.field: term.value.upper() for term in terms}
    if filters.keys() - {"", "status", "operation_type"}:
        raise client_error("devstore finds bulk operations by status and operation_type only")
    jobs = {job.id: context.bulk.to_json(job, context.site) for job in context.bulk.jobs.values()}
    keys = [
        (number, identifier)
        for number, (identifier, job) in enumerate(jobs.items(), 1)
        if filters.get("status") in (None, job["status"]) and filters.get("operation_type") in (None, job["type"])
    ]
    ids = dict(keys)
    return page([(number, number) for number, _ in keys], lambda key: jobs[ids[key[1]]], args)


def _rejected(code: str, *messages: str) -> dict[str, Any]:
    errors = [{"field": ["query"], "message": message, "code": code} for message in messages]
    return {"bulkOperation": None, "userErrors": errors}


BULK_ROOT: Mapping[str, Callable[..., Any]] = {
    "bulkOperation": _bulk_operation,
    "bulkOperations": _bulk_operations,
}
BULK_MUTATION: Mapping[str, Callable[..., Any]] = {
    "bulkOperationRunQuery": _run_bulk_query,
    "bulkOperationCancel": _cancel_bulk,
}
