"""The calls of AnalysisService: for workers that analyze images, and for readers of their results."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import grpc
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceStub

from catalogsync_client.caller import DEFAULT_TIMEOUT_SECONDS, Caller, OpenStream
from catalogsync_client.paging import iterate_pages
from catalogsync_client.resuming_stream import ConnectionCallback, ResumingStream
from catalogsync_client.retry_policy import RetryPolicy
from catalogsync_client.shop import ShopLike, shop_ref


class AnalysisCalls:
    """The methods of CatalogClient that call AnalysisService."""

    _caller: Caller

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Use a channel to catalog_svc."""
        self._analysis_stub = AnalysisServiceStub(channel)

    # Workers; AnalysisWorker makes these calls

    def lease_tasks(
        self,
        request: pb.LeaseTasksRequest,
        *,
        on_connection: ConnectionCallback | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> AsyncGenerator[pb.LeaseTasksResponse, None]:
        """Yield messages with leased tasks, and heartbeats without tasks, without end.

        The stream resumes by itself; the leases of earlier messages are kept. `AnalysisWorker` does the rest.
        """

        async def open_call() -> OpenStream[pb.LeaseTasksResponse]:
            return await self._caller.open(self._analysis_stub.LeaseTasks, request)

        stream = ResumingStream(
            open_call,
            callee=self._caller.callee,
            retry_policy=retry_policy or RetryPolicy(),
            on_connection=on_connection,
            renew_token=self._caller.credentials.renew,
        )
        return stream.messages()

    async def extend_leases(
        self, request: pb.ExtendLeasesRequest, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> pb.ExtendLeasesResponse:
        """Extend leases, or end them with a lease_duration of zero; may be repeated."""
        return await self._caller.call(self._analysis_stub.ExtendLeases, request, timeout_seconds=timeout_seconds)

    async def submit_results(self, request: pb.SubmitResultsRequest) -> pb.SubmitResultsResponse:
        """Store the results of leased tasks, and return what became of each; may be repeated."""
        return await self._caller.call(self._analysis_stub.SubmitResults, request)

    # Results

    async def get_analysis(self, shop: ShopLike, item_id: str) -> pb.GetAnalysisResponse:
        """Return the analyses of an item's image."""
        request = pb.GetAnalysisRequest(shop=shop_ref(shop), item_id=item_id)
        return await self._caller.call(self._analysis_stub.GetAnalysis, request)

    async def list_analyses(self, request: pb.ListAnalysesRequest) -> pb.ListAnalysesResponse:
        """Return one page of an analyzer's results in a shop, lowest quality_score first."""
        return await self._caller.call(self._analysis_stub.ListAnalyses, request)

    def analyses(self, request: pb.ListAnalysesRequest) -> AsyncGenerator[pb.ImageAnalysis, None]:
        """Yield all analyses that the request selects, page by page."""
        return iterate_pages(self.list_analyses, request, lambda page: page.analyses)

    async def list_dead_tasks(self, request: pb.ListDeadTasksRequest) -> pb.ListDeadTasksResponse:
        """Return one page of the tasks of a shop whose attempts all failed."""
        return await self._caller.call(self._analysis_stub.ListDeadTasks, request)

    def dead_tasks(self, request: pb.ListDeadTasksRequest) -> AsyncGenerator[pb.ImageAnalysis, None]:
        """Yield all dead tasks that the request selects, page by page."""
        return iterate_pages(self.list_dead_tasks, request, lambda page: page.tasks)

    async def requeue_tasks(self, request: pb.RequeueTasksRequest) -> pb.RequeueTasksResponse:
        """Queue at most 1,000 images for another analysis; `requeue` queues all of them.

        Raises:
            AnalyzerNotEnabled: the shop does not use the analyzer.
        """
        return await self._caller.call(self._analysis_stub.RequeueTasks, request)

    async def requeue(self, request: pb.RequeueTasksRequest) -> int:
        """Queue all images that the request selects for another analysis, and return how many these are.

        Raises:
            AnalyzerNotEnabled: the shop does not use the analyzer.
        """
        requeued_count = 0
        while True:
            response = await self.requeue_tasks(request)
            requeued_count += response.requeued_count
            if not response.remaining:
                return requeued_count
