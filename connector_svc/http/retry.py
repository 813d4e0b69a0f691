"""Retries: which statuses are transient, the backoff, Retry-After, and the retry budget of a host."""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from connector_svc.http.failures import BadGateway, NoResponse, ServerError, TooManyRequests
from connector_svc.platforms.base import RateLimitHeaders

_MAX_RETRY_AFTER_SECONDS: Final = 10**8

TRANSIENT_STATUSES: Final[Mapping[int, type[NoResponse | TooManyRequests]]] = MappingProxyType(
    {
        429: TooManyRequests,
        430: TooManyRequests,  # a security rejection: the sender looks like a bot for a while
        500: ServerError,
        # 408 Request Timeout and 425 Too Early ask for a repetition; 520 to 527 and 530 are those of a CDN
        # (Cloudflare) for an origin that is slow, overloaded, restarting or cannot be resolved.
        **dict.fromkeys((408, 425, 502, 503, 504, *range(520, 528), 530), BadGateway),
    }
)
"""Statuses that say nothing about the request, and the failure that each means."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, limited in attempts and in total delay."""

    attempts: int = 4
    """Of one request, the first included."""
    max_total_delay: timedelta = timedelta(seconds=60)
    """Limit of all pauses of one request together."""
    first_delay: timedelta = timedelta(seconds=0.5)
    max_delay: timedelta = timedelta(seconds=20)

    def max_backoff(self, failures: int) -> timedelta:
        """Return the backoff before jitter after this many failures (from 1)."""
        # The exponent is capped: 2.0**1100 overflows.
        return min(self.first_delay * 2.0 ** min(failures - 1, 30), self.max_delay)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryBudget:
    """How many attempts on a host may be retries, so that a failing host does not get four times the load."""

    share: float = 0.2
    """Retries per request, in the long run."""
    reserve: int = 10
    """Retries that a host may have at once, before the share applies."""


def transient_failure(
    status: int, headers: Mapping[str, str], now: datetime, rate_limit_headers: RateLimitHeaders | None = None
) -> NoResponse | TooManyRequests | None:
    """Return the failure that a transient status means, or None if the reply is for the caller.

    Args:
        status: HTTP status of the reply.
        headers: Its headers, looked up case-insensitively.
        now: UTC; Retry-After may be a date.
        rate_limit_headers: The platform's own headers, if it has any.
    """
    failure = TRANSIENT_STATUSES.get(status)
    if failure is None:
        return None
    return failure(f"HTTP {status}", retry_after=retry_after(headers, now, rate_limit_headers))


def retry_after(
    headers: Mapping[str, str], now: datetime, rate_limit_headers: RateLimitHeaders | None = None
) -> timedelta | None:
    """Return the pause that the host asks for, or None if it asks for none that can be parsed.

    The Retry-After header counts first: seconds ("2", "2.0") or an HTTP date. Without it, a platform's own headers
    say in how many milliseconds a rate limit window ends in which no request is left.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None if rate_limit_headers is None else _until_reset(headers, rate_limit_headers)
    try:
        seconds = float(text)
    except ValueError:
        return _until_date(text, now)
    if not math.isfinite(seconds):
        return None
    return timedelta(seconds=min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS))


def _until_reset(headers: Mapping[str, str], names: RateLimitHeaders) -> timedelta | None:
    if headers.get(names.requests_left, "").strip() != "0":
        return None
    milliseconds = headers.get(names.reset_milliseconds, "").strip()
    return timedelta(milliseconds=int(milliseconds)) if re.fullmatch(r"[0-9]{1,10}", milliseconds) else None


def _until_date(text: str, now: datetime) -> timedelta | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(moment - now, timedelta())
