"""Which answers are transient, and how long we wait for a host that gives one."""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from connector_svc.http.failures import BadGateway, NoAnswer, ServerError, TooManyRequests

TRANSIENT_STATUSES: Final[Mapping[int, type[NoAnswer | TooManyRequests]]] = MappingProxyType(
    {
        429: TooManyRequests,
        430: TooManyRequests,  # Shopify's "security rejection": the sender looks like a bot for a while
        500: ServerError,
        # 408 Request Timeout and 425 Too Early ask for a repetition; 520 to 527 and 530 are Cloudflare's, for an
        # origin that is slow, overloaded, restarting or not to be resolved.
        **dict.fromkeys((408, 425, 502, 503, 504, *range(520, 528), 530), BadGateway),
    }
)
"""Statuses of answers that say nothing about the request, and what each means."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Full-jitter exponential back-off within a budget."""

    attempts: int = 4
    """Of one request, the first included."""
    patience: timedelta = timedelta(seconds=60)
    """What all waits of one request may add up to."""
    first_delay: timedelta = timedelta(seconds=0.5)
    max_delay: timedelta = timedelta(seconds=20)

    def ceiling(self, failures: int) -> timedelta:
        """The longest back-off after so many failures (from 1)."""
        # The exponent is capped: 2.0**1100 overflows.
        return min(self.first_delay * 2.0 ** min(failures - 1, 30), self.max_delay)


_RETRY_AFTER_LIMIT = 10**8


def transient_failure(status: int, headers: Mapping[str, str], now: datetime) -> NoAnswer | TooManyRequests | None:
    """What an answer with this status means; None: the answer is for the caller."""
    kind = TRANSIENT_STATUSES.get(status)
    return None if kind is None else kind(f"HTTP {status}", retry_after=retry_after(headers, now))


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """What the Retry-After header asks for, in seconds ("2", "2.0") or as an HTTP date; None: nothing usable.

    BigCommerce tells instead in how many milliseconds its window, in which nothing is left, ends.
    """
    text = headers.get("Retry-After", "").strip()
    if not text and headers.get("X-Rate-Limit-Requests-Left", "").strip() == "0":
        milliseconds = headers.get("X-Rate-Limit-Time-Reset-Ms", "").strip()
        return timedelta(milliseconds=int(milliseconds)) if re.fullmatch(r"[0-9]{1,10}", milliseconds) else None
    try:
        seconds = float(text)
    except ValueError:
        return _until(text, now)
    if not math.isfinite(seconds):
        return None
    return timedelta(seconds=min(max(seconds, 0.0), _RETRY_AFTER_LIMIT))


def _until(text: str, now: datetime) -> timedelta | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(moment - now, timedelta())
