"""The mutations and queries about bulk operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from devstore.shopify.bulk_jobs import ENDED, MOST_AT_ONCE
from devstore.shopify.bulk_rules import faults_of
from devstore.shopify.call import Call, Info, refused
from devstore.shopify.paging import Connection, page
from devstore.shopify.search import parse_search


def _run_query(_: Any, info: Info, query: str, groupObjects: bool = False) -> dict[str, Any]:
    call: Call = info.context
    jobs = call.bulk
    if jobs.switches.refuses:
        return _not_run(jobs.switches.refuses, "The bulk operation was refused.")
    faults = faults_of(info.schema, query)
    if faults:
        return _not_run("INVALID", *faults)
    if len(jobs.active) >= MOST_AT_ONCE:
        running = ", ".join(job.id for job in jobs.active)
        text = f"The limit of {MOST_AT_ONCE} bulk query operations for this app and shop is reached: {running}."
        return _not_run("OPERATION_IN_PROGRESS", text)
    job = jobs.start(info.schema, query, call, grouped=groupObjects)
    return {"bulkOperation": jobs.shown(job, call.site), "userErrors": []}


def _cancel(_: Any, info: Info, id: str) -> dict[str, Any]:
    call: Call = info.context
    job = call.bulk.jobs.get(id)
    if job is None:
        error: dict[str, Any] = {"field": ["id"], "message": "Bulk operation does not exist"}
        return {"bulkOperation": None, "userErrors": [error]}
    if job.status in ENDED:
        error = {"field": None, "message": f"A bulk operation cannot be canceled when it is {job.status.lower()}"}
        return {"bulkOperation": call.bulk.shown(job, call.site), "userErrors": [error]}
    job.cancel()
    return {"bulkOperation": call.bulk.shown(job, call.site), "userErrors": []}


def _one(_: Any, info: Info, id: str) -> dict[str, Any] | None:
    call: Call = info.context
    job = call.bulk.jobs.get(id)
    return call.bulk.shown(job, call.site) if job else None


def _list(_: Any, info: Info, **args: Any) -> Connection:
    call: Call = info.context
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


BULK_ROOT: Mapping[str, Callable[..., Any]] = {"bulkOperation": _one, "bulkOperations": _list}
BULK_MUTATION: Mapping[str, Callable[..., Any]] = {
    "bulkOperationRunQuery": _run_query,
    "bulkOperationCancel": _cancel,
}
