"""Records as shops send them: limits of their texts, what is wrong with them, and the issues that are reported.

A record that cannot be used is rejected and reported while the rest of the catalog goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final, TypeAlias

import msgspec

MAX_TEXT: Final = 65_535
"""Maximum characters of a title or handle; no platform's own editor accepts more."""
MAX_CODE: Final = 512
"""Maximum characters of a SKU or barcode: items are looked up by them, and PostgreSQL indexes at most 2.7 kB."""

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Code: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_CODE)]

SAMPLE_LENGTH: Final = 2_000
"""Characters of an offending value that platforms keep. Ten times what is reported, because redaction recognizes
only a whole secret and the value is cut after that."""

MALFORMED_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a record that does not match its type, is not UTF-8, or is nested too deep."""

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


class IssueReason(Enum):
    """Why a record was rejected or changed; the names are those of `catalogsync.errors.v1.IssueReason`."""

    MISSING_ID = "MISSING_ID"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_FIELD = "INVALID_FIELD"
    INVALID_PRICE = "INVALID_PRICE"
    TOO_LARGE = "TOO_LARGE"
    DUPLICATE_ID = "DUPLICATE_ID"
    ORPHAN_VARIANT = "ORPHAN_VARIANT"
    INCOMPLETE_VARIANTS = "INCOMPLETE_VARIANTS"
    SOURCE_ERROR = "SOURCE_ERROR"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordIssue:
    """One fault of one record, with the record's ids."""

    reason: IssueReason
    message: str
    """For people."""
    product_id: str = ""
    """Empty when the product has no id."""
    variant_id: str = ""
    """Empty when the fault is in the product itself."""
    field: str = ""
    """The platform's name of the offending field."""
    sample: str = ""
    """The offending value; redacted and cut before it leaves the process."""
    product_rejected: bool = False
    """Whether the whole product is rejected, so that it is not stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with one field or a whole record, before the ids of the record are known."""

    reason: IssueReason
    message: str
    field: str = ""
    sample: str = ""

    def to_issue(self, product_id: object, variant_id: object = None, *, rejected: bool = False) -> RecordIssue:
        """Return the issue to report.

        Args:
            product_id: None if the product has no usable id.
            variant_id: None if the fault is in the product itself.
            rejected: Whether the product is not stored because of this fault.
        """
        return RecordIssue(
            reason=self.reason,
            message=self.message,
            product_id="" if product_id is None else str(product_id),
            variant_id="" if variant_id is None else str(variant_id),
            field=self.field,
            sample=self.sample,
            product_rejected=rejected,
        )


class InvalidRecord(Exception):
    """A record, or one of its values, cannot be used."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def mark_lone_surrogates(body: bytes) -> bytes:
    r"""Return `body` with the invalid byte 0xFF in place of each escaped lone surrogate, such as `\ud800`.

    For msgspec a lone surrogate makes the whole body malformed; an invalid byte makes only its own record
    unreadable.
    """
    return _ESCAPE.sub(lambda found: b"\xff" if found[1] else found[0], body)


def is_too_long(error: Exception) -> bool:
    """Return whether msgspec raised `error` because a text exceeds the maximum length of its type."""
    return "of length <=" in str(error)
