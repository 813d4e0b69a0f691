"""Reads single values as a store writes them."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from connector_svc.domain.issue import IssueReason
from connector_svc.platforms.woocommerce.record import SAMPLE_LENGTH, Fault

_DECIMAL: Final = re.compile(r"(?:\d{1,24}(?:\.\d{0,24})?|\.\d{1,24})", re.ASCII)


class Unfit(Exception):
    """A record makes no sense."""

    def __init__(self, reason: IssueReason, field: str, message: str, sample: str) -> None:
        super().__init__(message)
        self.fault = Fault(reason=reason, field=field, message=message, sample=sample[:SAMPLE_LENGTH])


def unescaped(text: str) -> str:
    """`text` as people read it: entities decoded once, tags left as they are."""
    return html.unescape(text) if "&" in text else text


def price_of(text: str, field: str) -> Decimal | None:
    """With the store's own digits; None: no price."""
    if not text:
        return None
    price = decimal_of(text)
    if price is None:
        raise Unfit(IssueReason.INVALID_PRICE, field, f'"{field}" is no price.', text)
    return price


def decimal_of(text: str) -> Decimal | None:
    """With the digits of `text`; None: it is no plain number, or negative."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def utc(moment: datetime | None) -> datetime | None:
    """`moment`, which is UTC already unless it says otherwise."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
