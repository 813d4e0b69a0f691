"""Converts analyses and tasks to messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from catalogsync.catalog.v1 import analysis_pb2 as analysis_pb
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync_common.timestamps import to_timestamp
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from catalog_svc.domain.analysis import (
    AnalysisCounts,
    AnalysisResult,
    AnalysisState,
    AnalysisSummary,
    ImageAnalysis,
    ItemAnalysis,
    LeasedTask,
    TaskFailure,
    TaskLease,
    TaskOutcome,
)
from catalog_svc.rpc.lease_ids import encode_lease

_MAX_TAGS: Final = 100
_STATES: Final = {
    state: analysis_pb.AnalysisState.Value(f"ANALYSIS_STATE_{state.value}") for state in AnalysisState
}


def counts(value: AnalysisCounts) -> analysis_pb.AnalysisCounts:
    """Convert the numbers of items in each state."""
    return analysis_pb.AnalysisCounts(
        pending_item_count=value.pending,
        analyzed_item_count=value.analyzed,
        failed_item_count=value.failed,
    )


def of_item(value: ItemAnalysis) -> analysis_pb.ItemAnalysis:
    """Convert the analysis of an item."""
    return analysis_pb.ItemAnalysis(
        state=_STATES[value.state], results=[_summary(result) for result in value.results]
    )


def _summary(value: AnalysisSummary) -> analysis_pb.AnalysisSummary:
    return analysis_pb.AnalysisSummary(
        analyzer=value.analyzer,
        model_version=value.model_version,
        category=value.category,
        subcategory=value.subcategory,
        quality_score=format(value.quality_score, "f"),
        confidence_score=format(value.confidence_score, "f"),
        analyze_time=to_timestamp(value.analyzed_at),
    )


def task(value: LeasedTask) -> pb.AnalysisTask:
    """Convert a leased task."""
    return pb.AnalysisTask(
        lease_id=encode_lease(value.lease),
        shop_id=str(value.lease.shop_id),
        image_id=value.lease.image.image_hash.hex(),
        image_url=value.image_url,
        item_id=value.item_id,
        item_title=value.item_title,
        product_id=value.product_id,
        product_title=value.product_title,
        product_type=value.product_type,
        vendor=value.vendor,
        tags=value.tags[:_MAX_TAGS],
        attempt=value.attempt,
        lease_expire_time=to_timestamp(value.expires_at),
    )


def extension(leases: Collection[TaskLease], extended: Mapping[TaskLease, datetime]) -> pb.ExtendLeasesResponse:
    """Return the answer to ExtendLeases: which leases last until when, and which are lost."""
    until = min(extended.values(), default=None)
    return pb.ExtendLeasesResponse(
        extended_lease_ids=[encode_lease(lease) for lease in leases if lease in extended],
        lost_lease_ids=[encode_lease(lease) for lease in leases if lease not in extended],
        lease_expire_time=to_timestamp(until),
    )


def outcomes(leases: Sequence[TaskLease], values: Sequence[TaskOutcome]) -> pb.SubmitResultsResponse:
    """Return the answer to SubmitResults."""
    return pb.SubmitResultsResponse(
        outcomes=[
            pb.TaskOutcome(
                lease_id=encode_lease(lease), outcome=pb.TaskOutcome.Outcome.Value(f"OUTCOME_{value.value}")
            )
            for lease, value in zip(leases, values, strict=True)
        ]
    )


def state(value: AnalysisState | None) -> analysis_pb.AnalysisState.ValueType:
    """Convert the state of an item; None: unspecified."""
    return analysis_pb.ANALYSIS_STATE_UNSPECIFIED if value is None else _STATES[value]


def analysis(value: ImageAnalysis) -> pb.ImageAnalysis:
    """Convert the analysis of an image by one analyzer."""
    return pb.ImageAnalysis(
        image_id=value.image.image_hash.hex(),
        image_url=value.image_url,
        analyzer=value.image.analyzer,
        state=_STATES[value.state],
        result=_result(value.result) if value.result else None,
        analyze_time=to_timestamp(value.analyzed_at),
        failure=_failure(value.failure, value.state) if value.failure else None,
        attempt_count=value.attempt_count,
        item_id=value.item_id,
    )


def _result(value: AnalysisResult) -> pb.AnalysisResult:
    attributes, processing_time = Struct(), None
    attributes.update(dict(value.attributes))
    if value.processing_time is not None:
        processing_time = Duration()
        processing_time.FromTimedelta(value.processing_time)
    return pb.AnalysisResult(
        model_version=value.model_version,
        category=value.category,
        subcategory=value.subcategory,
        description=value.description,
        gender=value.gender,
        attributes=attributes,
        quality_score=format(value.quality_score, "f"),
        confidence_score=format(value.confidence_score, "f"),
        processing_time=processing_time,
    )


def _failure(value: TaskFailure, state_of_task: AnalysisState) -> pb.TaskFailure:
    return pb.TaskFailure(
        reason=value.reason, message=value.message, permanent=state_of_task is AnalysisState.FAILED
    )
