"""Converts audits to messages of CatalogService.

| Domain | Message | Function |
|---|---|---|
| AuditProgress, AuditResult | VerifyCatalogResponse, with AuditProgress, CatalogAudit | response |
| Difference | AuditDifference | difference |
| AuditSummary | AuditSummary | summary |
"""

from __future__ import annotations

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.timestamps import to_timestamp

from catalog_svc.domain.audit import AuditProgress, AuditResult, AuditSummary, Difference


def response(event: AuditProgress | AuditResult) -> pb.VerifyCatalogResponse:
    """Convert the progress or the result of an audit."""
    if isinstance(event, AuditResult):
        return pb.VerifyCatalogResponse(audit=_audit(event))
    progress = pb.AuditProgress(checked_product_count=event.products_checked, product_count=event.product_count)
    return pb.VerifyCatalogResponse(progress=progress)


def _audit(value: AuditResult) -> pb.CatalogAudit:
    return pb.CatalogAudit(
        checked_product_count=value.products_checked,
        checked_item_count=value.items_checked,
        drifted_product_count=value.drifted,
        behind_product_count=value.behind,
        undated_product_count=value.undated,
        different_item_count=value.items_different,
        repaired_product_count=value.repaired,
        rejected_product_count=value.rejected,
        undecided_product_count=value.undecided,
        missing_row_count=value.missing_rows,
        differences=map(difference, value.differences),
    )


def difference(value: Difference) -> pb.AuditDifference:
    """Convert one difference."""
    return pb.AuditDifference(
        product_id=value.product_id,
        item_id=value.item_id,
        kind=pb.AuditDifference.Kind.Value(f"KIND_{value.kind.value}"),
        cause=pb.AuditDifference.Cause.Value(f"CAUSE_{value.cause.value}"),
        field=value.field,
        stored_value=value.stored,
        found_value=value.found,
        stored_time=to_timestamp(value.stored_at),
        source_update_time=to_timestamp(value.source_updated_at),
    )


def summary(value: AuditSummary) -> pb.AuditSummary:
    """Convert what the last audit of a shop found."""
    return pb.AuditSummary(
        end_time=to_timestamp(value.ended_at),
        checked_product_count=value.products_checked,
        checked_item_count=value.items_checked,
        drifted_product_count=value.drifted,
    )
