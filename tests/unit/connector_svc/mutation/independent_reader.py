"""An independent, simple reader of the payloads, which the parsers are compared with."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def sent(body: bytes) -> Any:
    """Decode a body; a text with lone surrogates or bytes that are not UTF-8 equals no valid text."""
    return json.loads(body.decode("utf-8", "surrogateescape"), parse_float=Decimal)


def children(value: Any, *path: str) -> list[Any]:
    """Return the list at `path`; empty if there is none."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []


def amount(value: Any) -> Decimal | None:
    """Return the number of a price; None if there is none."""
    return None if value is None or value == "" else Decimal(value)


def check_amount(parsed: Decimal | None, value: Any) -> None:
    """Assert that `parsed` is exactly the amount that was sent, and is money."""
    assert not isinstance(value, bool)
    assert parsed == amount(value)
    assert parsed is None or (parsed.is_finite() and parsed >= 0)


def is_text(value: Any) -> bool:
    """Return whether the value is a text that UTF-8 can encode."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
