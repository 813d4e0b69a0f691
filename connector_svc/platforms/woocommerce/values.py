"""Reads single values as a store writes them."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from connector_svc.domain.records import SAMPLE_LENGTH, Fault, InvalidRecord, IssueReason

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_WITHOUT_ZONE: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - it stands for what stores send
_DECIMAL: Final = re.compile(r"(?:\d{1,24}(?:\.\d{0,24})?|\.\d{1,24})", re.ASCII)


def unescaped(text: str) -> str:
    """`text` as people read it: entities decoded once, tags left as they are."""
    return html.unescape(text) if "&" in text else text


def price_of(text: str, field: str) -> Decimal | None:
    """With the store's own digits; None: no price."""
    if not text:
        return None
    price = decimal_of(text)
    if price is None:
        raise InvalidRecord(_wrong(IssueReason.INVALID_PRICE, field, "is no price", text))
    return price


def decimal_of(text: str) -> Decimal | None:
    """With the digits of `text`; None: it is no plain number, or negative."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def utc(moment: datetime | None, field: str = "date_modified_gmt") -> datetime | None:
    """`moment`, which is UTC already unless it says otherwise. Raises InvalidRecord outside the calendar."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        # A quarter of what `replace` costs, twice for every variant.
        return _EPOCH + (moment - _EPOCH_WITHOUT_ZONE)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidRecord(
            _wrong(IssueReason.INVALID_FIELD, field, "is outside the calendar", str(moment))
        ) from None


def _wrong(reason: IssueReason, field: str, how: str, value: str) -> Fault:
    return Fault(reason=reason, field=field, message=f'"{field}" {how}.', sample=value[:SAMPLE_LENGTH])
