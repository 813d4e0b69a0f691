"""What is wrong with a record, before it is told whose."""

from __future__ import annotations

from dataclasses import dataclass

from connector_svc.domain.issue import IssueReason, RecordIssue


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
