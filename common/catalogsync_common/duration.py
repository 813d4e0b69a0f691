"""Durations as people write them: "15s", "1h30m"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: Any) -> timedelta:
    """Parse "15s", "24h", "500ms", "1h30m", or a number of seconds; a timedelta is returned as it is.

    Raises:
        ValueError: the value has another form, is negative or too long.
    """
    try:
        duration = value if isinstance(value, timedelta) else _parse(str(value).strip().lower())
    except OverflowError:
        raise ValueError("is too long") from None
    if duration < timedelta():
        raise ValueError("must not be negative")
    return duration


def _parse(text: str) -> timedelta:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return timedelta(seconds=float(text))
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('expected a duration such as "15s", "500ms", "24h" or "1h30m"')
    return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())


def format_duration(duration: timedelta) -> str:
    """Return a duration rounded to seconds, as "1d12h", "15m" or "1m30s"; "less than 1s" if that is zero."""
    seconds = round(duration.total_seconds())
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "less than 1s"
