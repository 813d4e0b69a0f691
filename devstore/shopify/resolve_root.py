"""The root fields.

The mutations and queries about bulk operations."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from devstore.catalog.model import Product
from devstore.shopify import listing
from devstore.shopify.bulk_jobs import ENDED, MAX_ACTIVE_JOBS
from devstore.shopify.bulk_query import bulk_query_errors
from devstore.shopify.context import MAX_PAGE_SIZE, Info, RequestContext, refused
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
    """Whatever has this global id; null when it is unknown, of another shop, or of a kind not modelled."""
    parsed = parse_gid(id)
    if parsed is None:
        raise refused(f"Invalid global id '{id}'", "RESOURCE_NOT_FOUND")
    kind, number = parsed
    call: RequestContext = info.context
    if kind == "Product":
        if call.quirks.null_nodes and call.quirks.dice.random() < call.quirks.null_nodes:
            return None
        return call.catalog.product(number)
    if kind == "ProductVariant":
        return call.catalog.variant(number)
    return _shop(None, info) if kind == "Shop" else None


def _nodes(_: Any, info: Info, ids: list[str]) -> list[Any]:
    if len(ids) > MAX_PAGE_SIZE:
        text = f"The input array size of {len(ids)} is greater than the maximum allowed of {MAX_PAGE_SIZE}."
        raise refused(text, "MAX_INPUT_SIZE_EXCEEDED")
    call: RequestContext = info.context
    gone = {gid("Product", number) for number in call.quirks.vanished}
    return [None if one in gone else node(None, info, one) for one in ids]


def _one(kind: str) -> Callable[..., Any]:
    def resolve(_: Any, info: Info, id: str) -> Any:
        parsed = parse_gid(id)
        if parsed is None or parsed[0] != kind:
            raise refused("Invalid id: " + id, "RESOURCE_NOT_FOUND")
        return node(None, info, id)

    return resolve


def _by_identifier(_: Any, info: Info, identifier: dict[str, Any]) -> Product | None:
    call: RequestContext = info.context
    if "id" in identifier:
        product: Product | None = _one("Product")(None, info, identifier["id"])
        return product
    if "handle" in identifier:
        found = listing.product_keys(call, f"handle:'{identifier['handle']}'")
        return call.catalog.product(found[0][1]) if found else None
    raise refused("devstore finds products by id and handle only")


def _events(_: Any, info: Info, **args: Any) -> Connection:
    return listing.events(info.context, args)


def _shop(_: Any, info: Info) -> dict[str, Any]:
    call: RequestContext = info.context
    spec = call.catalog.spec
    plus = spec.plan is Plan.PLUS
    plan = {"publicDisplayName": _PLAN_NAMES[spec.plan], "shopifyPlus": plus, "partnerDevelopment": False}
    limits = {"maxProductVariants": 2048, "maxProductOptions": 3, "locationLimit": 1000}
    return {
        "__typename": "Shop",
        "id": gid("Shop", zlib.crc32(spec.domain.encode())),
        "name": spec.domain.partition(".")[0].replace("-", " ").title(),
        "email": f"owner@{spec.domain}",
        "contactEmail": f"hello@{spec.domain}",
        "myshopifyDomain": call.quirks.myshopify_domain or spec.domain,
        "url": f"https://{spec.domain}",
        "currencyCode": call.quirks.currency_code or spec.currency_code,
        "ianaTimezone": SHOP_ZONE_NAME,
        "timezoneAbbreviation": "EST",
        "timezoneOffset": "-0500",
        "weightUnit": "KILOGRAMS",
        "unitSystem": "METRIC_SYSTEM",
        "plan": plan,
        "resourceLimits": limits,
    }


def _installation(_: Any, info: Info) -> dict[str, Any]:
    call: RequestContext = info.context
    scopes = [{"handle": handle, "description": handle.replace("_", " ")} for handle in call.quirks.scopes]
    return {"__typename": "AppInstallation", "id": gid("AppInstallation", 1), "accessScopes": scopes}


def _api_versions(_: Any, info: Info) -> list[dict[str, Any]]:
    stable = [{"handle": handle, "displayName": handle, "supported": True} for handle in SUPPORTED_VERSIONS]
    return [*stable, {"handle": "unstable", "displayName": "unstable", "supported": False}]


def _of_products(field: str, resolve: Callable[..., Any]) -> Callable[..., Any]:
    """`resolve` for an app that may read products."""

    def guarded(source: Any, info: Info, **args: Any) -> Any:
        info.context.require("products", field)
        return resolve(source, info, **args)

    return guarded


_PRODUCTS: Mapping[str, Callable[..., Any]] = {
    "products": _products,
    "product": _one("Product"),
    "productByIdentifier": _by_identifier,
    "productVariant": _one("ProductVariant"),
    "productVariants": _variants,
    "productsCount": _products_count,
    "productVariantsCount": _variants_count,
}
ROOT: Mapping[str, Callable[..., Any]] = {
    **{field: _of_products(field, resolve) for field, resolve in _PRODUCTS.items()},
    "shop": _shop,
    "node": node,
    "nodes": _nodes,
    "events": _events,
    "currentAppInstallation": _installation,
    "publicApiVersions": _api_versions,
}


def _run_bulk_query(_: Any, info: Info, query: str, groupObjects: bool = False) -> dict[str, Any]:
    call: RequestContext = info.context
    jobs = call.bulk
    if jobs.switches.refuses:
        return _not_run(jobs.switches.refuses, "The bulk operation was refused.")
    faults = bulk_query_errors(info.schema, query)
    if faults:
        return _not_run("INVALID", *faults)
    if len(jobs.active) >= MAX_ACTIVE_JOBS:
        running = ", ".join(job.id for job in jobs.active)
        text = f"The limit of {MAX_ACTIVE_JOBS} bulk query operations for this app and shop is reached: {running}."
        return _not_run("OPERATION_IN_PROGRESS", text)
    job = jobs.start(info.schema, query, call, grouped=groupObjects)
    return {"bulkOperation": jobs.shown(job, call.site), "userErrors": []}


def _cancel_bulk(_: Any, info: Info, id: str) -> dict[str, Any]:
    call: RequestContext = info.context
    job = call.bulk.jobs.get(id)
    if job is None:
        error: dict[str, Any] = {"field": ["id"], "message": "Bulk operation does not exist"}
        return {"bulkOperation": None, "userErrors": [error]}
    if job.status in ENDED:
        error = {"field": None, "message": f"A bulk operation cannot be canceled when it is {job.status.lower()}"}
        return {"bulkOperation": call.bulk.shown(job, call.site), "userErrors": [error]}
    job.cancel()
    return {"bulkOperation": call.bulk.shown(job, call.site), "userErrors": []}


def _bulk_operation(_: Any, info: Info, id: str) -> dict[str, Any] | None:
    call: RequestContext = info.context
    job = call.bulk.jobs.get(id)
    return call.bulk.shown(job, call.site) if job else None


def _bulk_operations(_: Any, info: Info, **args: Any) -> Connection:
    call: RequestContext = info.context
    [terms] = parse_search(args.get("query") or "")[:1]
    wanted = {term.field: term.value.upper() for term in terms}
    if wanted.keys() - {"", "status", "operation_type"}:
        raise refused("devstore finds bulk operations by status and operation_type only")
    shown = {job.id: call.bulk.shown(job, call.site) for job in call.bulk.jobs.values()}
    keys = [
        (number, identifier)
        for number, (identifier, job) in enumerate(shown.items(), 1)
        if wanted.get("status") in (None, job["status"]) and wanted.get("operation_type") in (None, job["type"])
    ]
    ids = dict(keys)
    return page([(number, number) for number, _ in keys], lambda key: shown[ids[key[1]]], args)


def _not_run(code: str, *messages: str) -> dict[str, Any]:
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
