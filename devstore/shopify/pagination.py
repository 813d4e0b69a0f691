"""Connections and cursors: one page of a sorted list of keys, at a cost that depends on the page alone."""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from devstore.shopify.context import MAX_PAGE_SIZE, client_error
from devstore.shopify.scalars import format_datetime

Key = tuple[int | str, int]
"""The value by which a list is sorted, and the id."""


def encode_cursor(key: Key, *, is_time: bool = False) -> str:
    """Encode a key as the platform does: base64 of the JSON `{"last_id": 1, "last_value": "1"}`."""
    value = format_datetime(key[0]) if is_time and isinstance(key[0], int) else str(key[0])
    return base64.b64encode(json.dumps({"last_id": key[1], "last_value": value}).encode()).decode()


def decode_cursor(cursor: str, like: Key, *, is_time: bool = False) -> Key:
    """Decode a cursor of a list with keys like `like`.

    Raises:
        GraphQLError: The cursor is malformed, or from a list with another sort order.
    """
    try:
        content = json.loads(base64.b64decode(cursor, validate=True))
        last_id, value = int(content["last_id"]), str(content["last_value"])
        if is_time:
            return int(datetime.fromisoformat(value).timestamp()), last_id
        return (int(value) if isinstance(like[0], int) else value), last_id
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise client_error("Invalid cursor for current pagination sort.", "INVALID_CURSOR") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One page; its nodes and cursors are created when the query requests them."""

    keys: Sequence[Key]
    load: Callable[[Key], Any]
    is_time: bool
    has_next: bool
    has_previous: bool

    def nodes(self) -> list[Any]:
        return [self.load(key) for key in self.keys]

    def edges(self) -> list[dict[str, Any]]:
        return [{"node": self.load(key), "cursor": self._cursor(key)} for key in self.keys]

    def page_info(self) -> dict[str, Any]:
        return {
            "hasNextPage": self.has_next,
            "hasPreviousPage": self.has_previous,
            "startCursor": self._cursor(self.keys[0]) if self.keys else None,
            "endCursor": self._cursor(self.keys[-1]) if self.keys else None,
        }

    def _cursor(self, key: Key) -> str:
        return encode_cursor(key, is_time=self.is_time)


def page(
    keys: Sequence[Key],
    load: Callable[[Key], Any],
    args: dict[str, Any],
    *,
    is_time: bool = False,
    max_size: int = MAX_PAGE_SIZE,
) -> Connection:
    """Return the page that the arguments first, after, last, before and reverse request.

    Args:
        keys: The keys of the whole list, ascending.
        load: Returns the node of a key.
        args: The GraphQL arguments.
        is_time: Whether the first part of a key is a time in seconds, which cursors show as a date.
        max_size: The maximum of first and last.
    """
    backward, count = _direction_and_count(args, max_size)
    reverse = bool(args.get("reverse"))
    low, high = _bounds(keys, args, reverse=reverse, is_time=is_time)
    more = high - low > count
    chosen = keys[low : min(low + count, high)] if reverse == backward else keys[max(low, high - count) : high]
    return Connection(
        keys=chosen[::-1] if reverse else chosen,
        load=load,
        is_time=is_time,
        has_next=args.get("before") is not None if backward else more,
        has_previous=more if backward else args.get("after") is not None,
    )


def _direction_and_count(args: dict[str, Any], max_size: int) -> tuple[bool, int]:
    first, last = args.get("first"), args.get("last")
    if first is None and last is None:
        raise client_error("you must provide one of first or last")
    if first is not None and last is not None:
        raise client_error("providing both first and last is not supported")
    count: int = first if first is not None else args["last"]
    if count < 0 or count > max_size:
        raise client_error(f"first and last must be between 0 and {max_size}, not {count}", "BAD_USER_INPUT")
    return first is None, count


def _bounds(keys: Sequence[Key], args: dict[str, Any], *, reverse: bool, is_time: bool) -> tuple[int, int]:
    low, high = 0, len(keys)
    after, before = args.get("after"), args.get("before")
    if reverse:
        after, before = before, after
    like: Key = keys[0] if keys else (0, 0)
    if after is not None:
        low = bisect_right(keys, decode_cursor(after, like, is_time=is_time))
    if before is not None:
        high = bisect_left(keys, decode_cursor(before, like, is_time=is_time))
    return low, max(low, high)
