"""A record that was set aside while the rest of the catalog went on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

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
