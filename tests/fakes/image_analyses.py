"""An in-memory AnalysisService whose analyses belong to the items of a fake catalog; tests store them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Protocol

from catalogsync.catalog.v1 import analysis_pb2 as states
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog
from catalogsync_common.failure import Failure

from tests.fakes.analysis_service import FakeAnalysis

PENDING = states.ANALYSIS_STATE_PENDING
ANALYZED = states.ANALYSIS_STATE_ANALYZED
FAILED = states.ANALYSIS_STATE_FAILED
NOT_APPLICABLE = states.ANALYSIS_STATE_NOT_APPLICABLE
_BY_URGENCY = (PENDING, FAILED, ANALYZED)


class AnalyzedCatalog(Protocol):
    """What the analyses need of the catalog whose items they belong to."""

    def items_of(self, shop: catalog.ShopRef) -> list[catalog.Item]: ...
    def analyzers_of(self, shop: catalog.ShopRef) -> Sequence[str]: ...
    def record(self, method: str, request: Any, context: Any) -> None: ...


class AnalyzerNotEnabled(Failure):
    """The shop does not use the analyzer."""

    reason = "ANALYZER_NOT_ENABLED"


class ItemNotFound(Failure):
    """The shop has no such item."""

    reason = "ITEM_NOT_FOUND"


class ImageAnalyses(FakeAnalysis):
    """A FakeAnalysis for readers: each item has an image of its own, whose analyses the test puts here."""

    def __init__(self, catalog_: AnalyzedCatalog) -> None:
        super().__init__()
        self._catalog = catalog_
        self._by_item: dict[int, list[pb.ImageAnalysis]] = {}
        """By identity of the item."""
        self.max_requeued = 1_000
        """Per call."""

    def put(self, item: catalog.Item, *analyses: pb.ImageAnalysis) -> None:
        """Replace the analyses of an item's image, and what the item says of them; none: there is no image."""
        for analysis in analyses:
            analysis.item_id = item.item_id
            analysis.image_id = analysis.image_id or f"image-of-{item.item_id}"
        self._by_item[id(item)] = sorted(analyses, key=lambda one: one.analyzer)
        self._summarize(item)

    def _summarize(self, item: catalog.Item) -> None:
        analyses = self._by_item[id(item)]
        found = {one.state for one in analyses}
        item.analysis.state = next((state for state in _BY_URGENCY if state in found), NOT_APPLICABLE)
        item.analysis.ClearField("results")
        item.analysis.results.extend(_summary(one) for one in analyses if one.HasField("result"))

    def _of_shop(self, shop: catalog.ShopRef) -> Iterator[tuple[catalog.Item, pb.ImageAnalysis]]:
        for item in self._catalog.items_of(shop):
            for analysis in self._by_item.get(id(item), ()):
                yield item, analysis

    def _select(
        self, shop: catalog.ShopRef, is_selected: Callable[[pb.ImageAnalysis], bool]
    ) -> list[pb.ImageAnalysis]:
        return [analysis for _, analysis in self._of_shop(shop) if is_selected(analysis)]

    async def GetAnalysis(self, request: pb.GetAnalysisRequest, context: Any) -> pb.GetAnalysisResponse:
        self._catalog.record("GetAnalysis", request, context)
        for item in self._catalog.items_of(request.shop):
            if item.item_id == request.item_id:
                return pb.GetAnalysisResponse(state=item.analysis.state, analyses=self._by_item.get(id(item), ()))
        raise ItemNotFound("no such item", metadata={"item_id": request.item_id})

    async def ListAnalyses(self, request: pb.ListAnalysesRequest, context: Any) -> pb.ListAnalysesResponse:
        self._catalog.record("ListAnalyses", request, context)
        state = request.state or ANALYZED

        def is_selected(one: pb.ImageAnalysis) -> bool:
            if one.analyzer != request.analyzer:
                return False
            if state != ANALYZED:
                return one.state == state
            return (
                one.HasField("result")
                and request.category in ("", one.result.category)
                and Decimal(request.min_quality_score or 0) <= _quality(one)
                and _quality(one) <= Decimal(request.max_quality_score or 1)
            )

        found = self._select(request.shop, is_selected)
        found.sort(key=lambda one: (_quality(one) if state == ANALYZED else 0, one.image_id))
        page, token = _page(found, request.page_size, request.page_token)
        return pb.ListAnalysesResponse(analyses=page, next_page_token=token)

    async def ListDeadTasks(self, request: pb.ListDeadTasksRequest, context: Any) -> pb.ListDeadTasksResponse:
        self._catalog.record("ListDeadTasks", request, context)
        found = self._select(
            request.shop, lambda one: one.state == FAILED and request.analyzer in ("", one.analyzer)
        )
        found.sort(key=lambda one: (one.analyzer, one.image_id))
        page, token = _page(found, request.page_size, request.page_token)
        return pb.ListDeadTasksResponse(tasks=page, next_page_token=token)

    async def RequeueTasks(self, request: pb.RequeueTasksRequest, context: Any) -> pb.RequeueTasksResponse:
        self._catalog.record("RequeueTasks", request, context)
        if request.analyzer not in self._catalog.analyzers_of(request.shop):
            metadata = {"shop_id": request.shop.shop_id or "the-shop", "analyzer": request.analyzer}
            raise AnalyzerNotEnabled("the analyzer is not switched on", metadata=metadata)
        found = [(item, one) for item, one in self._of_shop(request.shop) if _is_requeued(one, request)]
        queued = found[: self.max_requeued]
        for item, one in queued:
            one.state, one.attempt_count = PENDING, 0
            one.ClearField("failure")
            self._summarize(item)
        return pb.RequeueTasksResponse(requeued_count=len(queued), remaining=len(found) > len(queued))


def analyzed(quality: str, *, analyzer: str = "image-quality", **fields: Any) -> pb.ImageAnalysis:
    """Return an analysis with a result."""
    fields = {"confidence_score": "0.95", "model_version": "1", **fields}
    attributes = fields.pop("attributes", {})
    found = pb.ImageAnalysis(
        analyzer=analyzer, state=ANALYZED, result=pb.AnalysisResult(quality_score=quality, **fields)
    )
    found.result.attributes.update(attributes)
    found.analyze_time.FromSeconds(1_780_000_000)
    return found


def pending(analyzer: str = "image-quality") -> pb.ImageAnalysis:
    """Return an analysis that waits for a worker."""
    return pb.ImageAnalysis(analyzer=analyzer, state=PENDING)


def failed(reason: str, message: str = "", *, analyzer: str = "image-quality") -> pb.ImageAnalysis:
    """Return an analysis whose attempts all failed."""
    failure = pb.TaskFailure(reason=reason, message=message)
    return pb.ImageAnalysis(analyzer=analyzer, state=FAILED, failure=failure, attempt_count=5)


def _summary(one: pb.ImageAnalysis) -> states.AnalysisSummary:
    return states.AnalysisSummary(
        analyzer=one.analyzer,
        model_version=one.result.model_version,
        category=one.result.category,
        subcategory=one.result.subcategory,
        quality_score=one.result.quality_score,
        confidence_score=one.result.confidence_score,
        analyze_time=one.analyze_time,
    )


def _quality(one: pb.ImageAnalysis) -> Decimal:
    return Decimal(one.result.quality_score or 0)


def _is_requeued(one: pb.ImageAnalysis, request: pb.RequeueTasksRequest) -> bool:
    if one.analyzer != request.analyzer or one.state == PENDING:
        return False
    if request.HasField("dead"):
        return one.state == FAILED
    if request.HasField("image_ids"):
        return one.image_id in request.image_ids.ids
    return one.HasField("result") and one.result.model_version != request.other_than_model_version


def _page(found: Sequence[pb.ImageAnalysis], size: int, token: str) -> tuple[Sequence[pb.ImageAnalysis], str]:
    start, size = int(token or 0), size or 50
    return found[start : start + size], str(start + size) if start + size < len(found) else ""
