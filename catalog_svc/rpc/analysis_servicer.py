"""AnalysisService. Each method validates the request, calls one use case and converts its result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import grpc
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceServicer

from catalog_svc.domain.analysis import AnalysisCursor, AnalysisFilter, ImageAnalysis
from catalog_svc.rpc import convert_analysis
from catalog_svc.rpc.analysis_requests import AnalysisRequestValidator
from catalog_svc.rpc.convert import reconnect_reason
from catalog_svc.rpc.page_tokens import PageTokens
from catalog_svc.usecases.analyses import FinishTasks, ReadAnalyses
from catalog_svc.usecases.lease_tasks import LeaseTasks

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisUseCases:
    """Use cases that the servicer calls."""

    lease: LeaseTasks
    finish: FinishTasks
    read: ReadAnalyses


class AnalysisServicer(AnalysisServiceServicer):
    """Implements AnalysisService. Methods raise Failures, which the interceptor maps to gRPC statuses."""

    def __init__(self, use_cases: AnalysisUseCases, tokens: PageTokens) -> None:
        self._use = use_cases
        self._tokens = tokens

    async def LeaseTasks(
        self, request: pb.LeaseTasksRequest, context: Context
    ) -> AsyncGenerator[pb.LeaseTasksResponse, None]:
        validator = AnalysisRequestValidator()
        worker = validator.worker(request)
        validator.raise_if_any()
        async with aclosing(self._use.lease(worker)) as messages:
            async for message in messages:
                yield pb.LeaseTasksResponse(
                    tasks=[convert_analysis.task(task) for task in message.tasks],
                    reconnect_reason=reconnect_reason(message.reconnect),
                )

    async def ExtendLeases(self, request: pb.ExtendLeasesRequest, context: Context) -> pb.ExtendLeasesResponse:
        validator = AnalysisRequestValidator()
        worker_id, leases, duration = validator.extension(request)
        validator.raise_if_any()
        return convert_analysis.extension(leases, await self._use.finish.extend(worker_id, leases, duration))

    async def SubmitResults(self, request: pb.SubmitResultsRequest, context: Context) -> pb.SubmitResultsResponse:
        validator = AnalysisRequestValidator()
        worker_id, results = validator.submission(request)
        validator.raise_if_any()
        outcomes = await self._use.finish.submit(worker_id, results)
        return convert_analysis.outcomes([result.lease for result in results], outcomes)

    async def GetAnalysis(self, request: pb.GetAnalysisRequest, context: Context) -> pb.GetAnalysisResponse:
        validator = AnalysisRequestValidator()
        ref = validator.shop(request.shop)
        item_id = validator.text("item_id", request.item_id, required=True)
        validator.raise_if_any()
        state, analyses = await self._use.read.of_item(ref, item_id)
        return pb.GetAnalysisResponse(
            state=convert_analysis.state(state), analyses=[convert_analysis.analysis(one) for one in analyses]
        )

    async def ListAnalyses(self, request: pb.ListAnalysesRequest, context: Context) -> pb.ListAnalysesResponse:
        validator = AnalysisRequestValidator()
        ref = validator.shop(request.shop)
        which = validator.analysis_filter(request)
        limit = validator.page_size(request.page_size, default=50, maximum=250)
        validator.raise_if_any()
        filters = {"list": "analyses", "shop": str(ref), **_conditions(which)}
        after = self._cursor(request.page_token, filters)
        page = await self._use.read.page(ref, which, after=after, limit=limit + 1)
        return pb.ListAnalysesResponse(
            analyses=[convert_analysis.analysis(one) for one in page[:limit]],
            next_page_token=self._next(page, limit, filters),
        )

    async def ListDeadTasks(self, request: pb.ListDeadTasksRequest, context: Context) -> pb.ListDeadTasksResponse:
        validator = AnalysisRequestValidator()
        ref = validator.shop(request.shop)
        analyzer = validator.optional_analyzer(request.analyzer)
        limit = validator.page_size(request.page_size, default=50, maximum=250)
        validator.raise_if_any()
        filters = {"list": "dead tasks", "shop": str(ref), "analyzer": analyzer}
        after = self._cursor(request.page_token, filters)
        page = await self._use.read.dead(ref, analyzer, after=after, limit=limit + 1)
        return pb.ListDeadTasksResponse(
            tasks=[convert_analysis.analysis(one) for one in page[:limit]],
            next_page_token=self._next(page, limit, filters),
        )

    async def RequeueTasks(self, request: pb.RequeueTasksRequest, context: Context) -> pb.RequeueTasksResponse:
        validator = AnalysisRequestValidator()
        ref = validator.shop(request.shop)
        analyzer = validator.analyzer("analyzer", request.analyzer)
        which = validator.requeue(request)
        validator.raise_if_any()
        count, remaining = await self._use.read.requeue(ref, analyzer, which)
        return pb.RequeueTasksResponse(requeued_count=count, remaining=remaining)

    def _cursor(self, token: str, filters: Mapping[str, object]) -> AnalysisCursor | None:
        position = self._tokens.decode(token, filters=filters, kind=tuple[str, bytes, Decimal])
        if position is None:
            return None
        analyzer, image_hash, quality_score = position
        return AnalysisCursor(analyzer=analyzer, image_hash=image_hash, quality_score=quality_score)

    def _next(self, page: Sequence[ImageAnalysis], limit: int, filters: Mapping[str, object]) -> str:
        if len(page) <= limit:
            return ""
        last = page[limit - 1]
        score = last.result.quality_score if last.result else Decimal(0)
        return self._tokens.encode((last.image.analyzer, last.image.image_hash, score), filters=filters)


def _conditions(which: AnalysisFilter) -> dict[str, object]:
    return {**asdict(which), "state": which.state.value}
