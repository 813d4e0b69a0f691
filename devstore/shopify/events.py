"""The shop's event log, as far as it tells of deleted products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devstore.catalog.catalog import Deletion
from devstore.shopify.call import Call, refused
from devstore.shopify.gid import gid
from devstore.shopify.matching import Field, test_of
from devstore.shopify.paging import Connection, page
from devstore.shopify.time import to_seconds, to_text

_FIELDS: Mapping[str, Field] = {
    "action": Field(read=lambda _: "destroy", value=str.lower),
    "subject_type": Field(read=lambda _: "product", value=str.lower),
    "created_at": Field(read=lambda found: int(found[1].at.timestamp()), value=to_seconds),
    "id": Field(read=lambda found: found[0], value=lambda text: int(text) if text.isdecimal() else None),
}


def events(call: Call, args: dict[str, Any]) -> Connection:
    """A page of the log, by id unless by time."""
    if args.get("sortKey") not in (None, "ID", "CREATED_AT"):
        raise refused(f"devstore does not sort events by {args['sortKey']}")
    call.use_cursor(args)
    test = test_of(call, args.get("query"), "events", _FIELDS)
    log = dict(enumerate(call.catalog.deletions, 1))
    keys = [(number, number) for number, one in log.items() if test is None or test((number, one))]
    return page(keys, lambda key: _node(key[1], log[key[1]]), args)


def _node(number: int, deletion: Deletion) -> dict[str, Any]:
    return {
        "__typename": "BasicEvent",
        "id": gid("BasicEvent", number),
        "action": "destroy",
        "subjectType": "PRODUCT",
        "subjectId": gid("Product", deletion.product_id),
        "createdAt": to_text(deletion.at),
        "message": f"Somebody deleted a product: {deletion.title}.",
    }
