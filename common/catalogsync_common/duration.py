"""Lengths of time as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: Any) -> timedelta:
    """ "15s", "24h", "500ms", "1h30m", or a number of seconds. ValueError: something else, or negative."""
    try:
        duration = value if isinstance(value, timedelta) else _duration_in(str(value).strip().lower())
    except OverflowError:
        raise ValueError("is too long") from None
    if duration < timedelta():
        raise ValueError("must not be negative")
    return duration


def _duration_in(text: str) -> timedelta:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return timedelta(seconds=float(text))
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('expected a duration such as "15s", "500ms", "24h" or "1h30m"')
    return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
