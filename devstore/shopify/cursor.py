"""Cursors: base64 JSON keysets, {"last_id": 1, "last_value": "1"}."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime

from devstore.shopify.call import refused
from devstore.shopify.time import to_text

Key = tuple[int | str, int]
"""The value a list is sorted by, then the id."""


def encode(key: Key, *, is_time: bool = False) -> str:
    value = to_text(key[0]) if is_time and isinstance(key[0], int) else str(key[0])
    return base64.b64encode(json.dumps({"last_id": key[1], "last_value": value}).encode()).decode()


def decode(cursor: str, like: Key, *, is_time: bool = False) -> Key:
    """The key of a cursor of the same sort order as `like`; any other cursor is refused."""
    try:
        content = json.loads(base64.b64decode(cursor, validate=True))
        last_id, value = int(content["last_id"]), str(content["last_value"])
        if is_time:
            return int(datetime.fromisoformat(value).timestamp()), last_id
        return (int(value) if isinstance(like[0], int) else value), last_id
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise refused("Invalid cursor for current pagination sort.", "INVALID_CURSOR") from None
