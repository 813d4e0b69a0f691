"""A record that was set aside while the rest of the catalog went on.

What is wrong with a record, before it is told whose.

Texts as shops send them: how long they may be, and what no encoding can hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final, TypeAlias

import msgspec

SAMPLE_LENGTH: Final = 2_000
"""Characters of an offending value that platforms keep. Ten times what is told: a secret must be whole to be
recognized, and it is cut only after that."""


class IssueReason(Enum):
    """Why a record was set aside; the names are those of `catalogsync.errors.v1.IssueReason`."""

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
    """One fault in one record."""

    reason: IssueReason
    message: str
    """For people."""
    product_id: str = ""
    """Empty when the product has no id."""
    variant_id: str = ""
    """Empty when the fault is the product's own."""
    field: str = ""
    """The platform's name of the offending field."""
    sample: str = ""
    """The offending value; cut and redacted where it leaves the process."""
    product_rejected: bool = False
    """Whether the whole product is not stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with one field or with the whole record."""

    reason: IssueReason
    message: str
    field: str = ""
    sample: str = ""

    def of(self, product_id: object, variant_id: object = None, *, rejected: bool = False) -> RecordIssue:
        """As it is told; None: an id that nobody knows, or no variant.

        `rejected`: the product is not stored for that.
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
    """A record, or a value of it, makes no sense."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


MAX_TEXT: Final = 65_535
"""Characters of a title or handle; no platform's own editor takes more."""
MAX_CODE: Final = 512
"""Characters of a SKU or barcode: items are found by them, and PostgreSQL indexes no more than 2.7 kB."""

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Code: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_CODE)]

MALFORMED_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for one record that does not follow its type, is no UTF-8, or is nested without end."""

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def with_marked_surrogates(body: bytes) -> bytes:
    """`body` with a byte that is no UTF-8 for each escaped half of a character.

    For msgspec such a half makes the whole body malformed; a byte makes only its own record unreadable.
    """
    return _ESCAPE.sub(lambda found: b"\xff" if found[1] else found[0], body)


def is_too_long(error: Exception) -> bool:
    """Whether a text was longer than its type allows."""
    return "of length <=" in str(error)
