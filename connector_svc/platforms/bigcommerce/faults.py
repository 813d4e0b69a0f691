"""Words for what is wrong with a record."""

from __future__ import annotations

import msgspec

from connector_svc.domain.records import SAMPLE_LENGTH, Fault, IssueReason, is_too_long
from connector_svc.platforms.bigcommerce.wire import PRICES


def missing(name: str) -> Fault:
    """A vital field that was not sent."""
    reason = IssueReason.MISSING_ID if name == "id" else IssueReason.MISSING_FIELD
    return Fault(reason=reason, field=name, message=f'The store sent no "{name}".')


def senseless(name: str, raw: msgspec.Raw, error: Exception | None = None) -> Fault:
    """A field whose value is none of its kind."""
    if name == "id":
        reason = IssueReason.MISSING_ID
    elif error is not None and is_too_long(error):
        reason = IssueReason.TOO_LARGE
    else:
        reason = IssueReason.INVALID_PRICE if name in PRICES else IssueReason.INVALID_FIELD
    return Fault(
        reason=reason, field=name, message=f'"{name}" has a value that makes no sense.', sample=sample(raw)
    )


def no_record(raw: msgspec.Raw) -> Fault:
    """Something else where a record should be."""
    return Fault(
        reason=IssueReason.MISSING_ID, message="The store sent something that is not a record.", sample=sample(raw)
    )


def bad_price(name: str, value: object) -> Fault:
    """A number that is no amount of money."""
    return Fault(
        reason=IssueReason.INVALID_PRICE,
        field=name,
        message=f'"{name}" is no amount of money of at least zero.',
        sample=str(value)[:SAMPLE_LENGTH],
    )


def unknown(name: str, value: str) -> Fault:
    """A value of an enumeration that the store's reference does not have."""
    return Fault(
        reason=IssueReason.INVALID_FIELD,
        field=name,
        message=f'"{name}" has a value that we do not know: the variants are not shown as available.',
        sample=value[:SAMPLE_LENGTH],
    )


def unlisted() -> Fault:
    """A product that the store counts and does not list, however often it is asked."""
    return Fault(
        reason=IssueReason.SOURCE_ERROR,
        message="The store counts a product here and does not list it, asked twice.",
    )


def unreadable() -> Fault:
    """A product that cannot be taken, also when it is asked for alone: too large, or nested without end."""
    return Fault(
        reason=IssueReason.SOURCE_ERROR, message="The store's answer about this product alone cannot be taken."
    )


def incomplete(received: int, counted: int) -> Fault:
    """Fewer variants than the store counts, also after asking for the product's alone."""
    return Fault(
        reason=IssueReason.INCOMPLETE_VARIANTS,
        field="variants",
        message=f"The store lists {received} variants of this product and counts {counted}.",
        sample=str(counted),
    )


def orphan(owner: int) -> Fault:
    """A variant listed under a product that is not its own."""
    return Fault(
        reason=IssueReason.ORPHAN_VARIANT,
        field="product_id",
        message="The variant belongs to another product than the one it was listed under.",
        sample=str(owner)[:SAMPLE_LENGTH],
    )


def duplicate() -> Fault:
    """A record that came before."""
    return Fault(reason=IssueReason.DUPLICATE_ID, field="id", message="The id came twice; the first record stays.")


def sample(raw: msgspec.Raw) -> str:
    """The beginning of a value."""
    return bytes(raw)[: SAMPLE_LENGTH * 4].decode(errors="replace")[:SAMPLE_LENGTH]
