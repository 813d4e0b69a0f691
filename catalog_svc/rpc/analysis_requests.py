"""Validates the requests of AnalysisService and converts them to the domain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from catalog_svc.domain.analysis import (
    AnalysisFilter,
    AnalysisResult,
    AnalysisState,
    RequeueSelection,
    SubmittedResult,
    TaskFailure,
    TaskLease,
    Worker,
)
from catalog_svc.rpc.lease_ids import decode_lease
from catalog_svc.rpc.request_validator import RequestValidator

_MAX_IN_FLIGHT: Final = 100
_DEFAULT_IN_FLIGHT: Final = 10
_MAX_LEASES: Final = 100
"""Leases of one call."""
_MIN_LEASE, _DEFAULT_LEASE, _MAX_LEASE = timedelta(seconds=10), timedelta(seconds=60), timedelta(minutes=10)
_MAX_IMAGES: Final = 1_000
_MAX_DESCRIPTION_CHARACTERS: Final = 5_000
_MAX_MESSAGE_CHARACTERS: Final = 1_000
_MAX_ATTRIBUTES_BYTES: Final = 16 * 1024
_SCORE: Final = re.compile(r"0(\.[0-9]{1,6})?|1(\.0{1,6})?")
_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_IMAGE_ID: Final = re.compile(r"[0-9a-f]{32}")
_MAX_PROCESSING_TIME: Final = timedelta(days=1)


class AnalysisRequestValidator(RequestValidator):
    """Validates the fields of one request of AnalysisService."""

    def worker(self, request: pb.LeaseTasksRequest) -> Worker:
        """Return the worker of LeaseTasks."""
        if not 0 <= request.max_in_flight <= _MAX_IN_FLIGHT:
            self.add_violation("max_in_flight", f"must be 1 to {_MAX_IN_FLIGHT}; 0 means {_DEFAULT_IN_FLIGHT}")
        return Worker(
            worker_id=self.text("worker_id", request.worker_id, required=True),
            analyzer=self.analyzer("analyzer", request.analyzer),
            model_version=self.text("model_version", request.model_version),
            max_in_flight=request.max_in_flight or _DEFAULT_IN_FLIGHT,
            lease_duration=self._lease_duration(request) or _DEFAULT_LEASE,
        )

    def _lease_duration(self, request: pb.LeaseTasksRequest | pb.ExtendLeasesRequest) -> timedelta:
        """Return the duration; zero if it is zero."""
        if not request.HasField("lease_duration"):
            return _DEFAULT_LEASE
        value = _to_timedelta(request.lease_duration)
        if isinstance(request, pb.ExtendLeasesRequest) and value == timedelta():
            return timedelta()
        if value is None or not _MIN_LEASE <= value <= _MAX_LEASE:
            self.add_violation("lease_duration", "must be 10 s to 10 min")
        return value or _DEFAULT_LEASE

    def extension(self, request: pb.ExtendLeasesRequest) -> tuple[str, list[TaskLease], timedelta]:
        """Return worker id, leases and duration of ExtendLeases."""
        worker_id = self.text("worker_id", request.worker_id, required=True)
        leases: list[TaskLease] = []
        if self._is_batch("lease_ids", request.lease_ids):
            leases = [
                lease
                for number, text in enumerate(request.lease_ids)
                if (lease := self._lease(f"lease_ids[{number}]", text))
            ]
        return worker_id, list(dict.fromkeys(leases)), self._lease_duration(request)

    def submission(self, request: pb.SubmitResultsRequest) -> tuple[str, list[SubmittedResult]]:
        """Return worker id and results of SubmitResults."""
        worker_id = self.text("worker_id", request.worker_id, required=True)
        results: list[SubmittedResult] = []
        if self._is_batch("results", request.results):
            for number, message in enumerate(request.results):
                result = self._submitted(f"results[{number}]", message)
                if result is not None:
                    results.append(result)
            images = {(result.lease.shop_id, result.lease.image) for result in results}
            if len(images) < len(results):
                self.add_violation("results", "must have at most one result of each image and analyzer")
        return worker_id, results

    def _is_batch(self, field: str, values: Sequence[object]) -> bool:
        if 0 < len(values) <= _MAX_LEASES:
            return True
        self.add_violation(field, f"must have 1 to {_MAX_LEASES} values")
        return False

    def _lease(self, field: str, text: str) -> TaskLease | None:
        lease = decode_lease(text)
        if lease is None:
            self.add_violation(field, "is not the lease_id of a task")
        return lease

    def _submitted(self, field: str, message: pb.TaskResult) -> SubmittedResult | None:
        lease = self._lease(f"{field}.lease_id", message.lease_id)
        outcome: AnalysisResult | TaskFailure | None = None
        if message.HasField("analysis"):
            outcome = self._result(f"{field}.analysis", message.analysis)
        elif message.HasField("failure"):
            outcome = self._failure(f"{field}.failure", message.failure)
        else:
            self.add_violation(field, "must have either analysis or failure")
        return SubmittedResult(lease=lease, outcome=outcome) if lease and outcome else None

    def _result(self, field: str, message: pb.AnalysisResult) -> AnalysisResult:
        processing_time = None
        if message.HasField("processing_time"):
            processing_time = _to_timedelta(message.processing_time)
            if processing_time is None or not timedelta() <= processing_time <= _MAX_PROCESSING_TIME:
                self.add_violation(f"{field}.processing_time", "must be 0 s to 1 day")
        return AnalysisResult(
            model_version=self.text(f"{field}.model_version", message.model_version),
            category=self.text(f"{field}.category", message.category),
            subcategory=self.text(f"{field}.subcategory", message.subcategory),
            description=self._long_text(f"{field}.description", message.description, _MAX_DESCRIPTION_CHARACTERS),
            gender=self.text(f"{field}.gender", message.gender),
            attributes=self._attributes(f"{field}.attributes", message.attributes),
            quality_score=self._score(f"{field}.quality_score", message.quality_score),
            confidence_score=self._score(f"{field}.confidence_score", message.confidence_score),
            processing_time=processing_time,
        )

    def _failure(self, field: str, message: pb.TaskFailure) -> TaskFailure:
        if not _REASON.fullmatch(message.reason):
            self.add_violation(f"{field}.reason", "must be 1 to 63 of A-Z, 0-9 and '_'")
        return TaskFailure(
            reason=message.reason,
            message=self._long_text(f"{field}.message", message.message, _MAX_MESSAGE_CHARACTERS),
            permanent=message.permanent,
        )

    def _long_text(self, field: str, value: str, maximum: int) -> str:
        if len(value) > maximum or "\0" in value:
            self.add_violation(field, f"must be at most {maximum:,} characters, none of them NUL")
        return value

    def _score(self, field: str, value: str) -> Decimal:
        if not _SCORE.fullmatch(value):
            self.add_violation(field, "must be a decimal from 0 to 1, with at most 6 digits after the point")
            return Decimal(0)
        return Decimal(value)

    def _attributes(self, field: str, message: Struct) -> dict[str, Any]:
        try:
            attributes = MessageToDict(message)
            encoded = msgspec.json.encode(attributes)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            # Infinity and NaN, which JSON does not have.
            self.add_violation(field, "must be a JSON object")
            return {}
        if len(encoded) > _MAX_ATTRIBUTES_BYTES or b"\\u0000" in encoded:
            self.add_violation(field, f"must be at most {_MAX_ATTRIBUTES_BYTES:,} bytes as JSON, without NUL")
        return attributes

    def analysis_filter(self, request: pb.ListAnalysesRequest) -> AnalysisFilter:
        """Return the filters of ListAnalyses."""
        state = self.analysis_state("state", request.state) or AnalysisState.ANALYZED
        which = AnalysisFilter(
            analyzer=self.analyzer("analyzer", request.analyzer),
            state=state,
            category=self.text("category", request.category),
            min_quality=self._optional_score("min_quality_score", request.min_quality_score),
            max_quality=self._optional_score("max_quality_score", request.max_quality_score),
        )
        if state is AnalysisState.NOT_APPLICABLE:
            self.add_violation("state", "must be PENDING, ANALYZED or FAILED")
        if state is not AnalysisState.ANALYZED and (
            which.category or which.min_quality is not None or which.max_quality is not None
        ):
            self.add_violation("state", "must be ANALYZED with category, min_quality_score or max_quality_score")
        return which

    def _optional_score(self, field: str, value: str) -> Decimal | None:
        return self._score(field, value) if value else None

    def optional_analyzer(self, name: str) -> str:
        """Return the name of an analyzer; empty: of all."""
        return self.analyzer("analyzer", name) if name else ""

    def requeue(self, request: pb.RequeueTasksRequest) -> RequeueSelection:
        """Return which images RequeueTasks queues."""
        kind = request.WhichOneof("images")
        if kind == "dead":
            if not request.dead:
                self.add_violation("dead", "must be true")
            return RequeueSelection(dead=True)
        if kind == "other_than_model_version":
            version = self.text("other_than_model_version", request.other_than_model_version)
            return RequeueSelection(other_than_model_version=version)
        if kind == "image_ids":
            return RequeueSelection(image_hashes=self._image_ids(request.image_ids.ids))
        self.add_violation("images", "is required: dead, image_ids or other_than_model_version")
        return RequeueSelection()

    def _image_ids(self, ids: Sequence[str]) -> tuple[bytes, ...]:
        if not 0 < len(ids) <= _MAX_IMAGES:
            self.add_violation("image_ids.ids", f"must have 1 to {_MAX_IMAGES:,} values")
            return ()
        for number, image_id in enumerate(ids):
            if not _IMAGE_ID.fullmatch(image_id):
                self.add_violation(f"image_ids.ids[{number}]", "is not the image_id of a task")
                return ()
        return tuple(dict.fromkeys(bytes.fromhex(image_id) for image_id in ids))


def _to_timedelta(message: Duration) -> timedelta | None:
    try:
        return message.ToTimedelta()
    except (ValueError, OverflowError):
        return None
