"""A second, simple reading of what was sent, to hold the parsers to."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def sent(body: bytes) -> Any:
    """What the body says; a text with half characters or bytes that are no UTF-8 equals no real text."""
    return json.loads(body.decode("utf-8", "surrogateescape"), parse_float=Decimal)


def children(value: Any, *path: str) -> list[Any]:
    """The list at `path`; empty when there is none."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []


def amount(value: Any) -> Decimal | None:
    """The number that a price says; None: it says none."""
    return None if value is None or value == "" else Decimal(value)


def check_amount(told: Decimal | None, value: Any) -> None:
    """Exactly what was sent, and money at all."""
    assert not isinstance(value, bool)
    assert told == amount(value)
    assert told is None or (told.is_finite() and told >= 0)


def is_text(value: Any) -> bool:
    """Whether UTF-8 can hold it."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
