"""Sends generated requests to the running services and collects what violates the oracle."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import grpc
from catalogsync.catalog.v1 import analysis_pb2 as analysis_state
from catalogsync.catalog.v1 import analysis_service_pb2 as analysis_pb
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1 import connector_service_pb2 as connector_pb
from catalogsync_common.auth.access_rules import path_of
from catalogsync_common.channel import open_channel
from catalogsync_common.status import read_failure_now
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from tests.security.fuzz.callers import Caller, Callers
from tests.security.fuzz.oracle import broken_lines, memory_mb, violation
from tests.security.fuzz.requests import RequestGenerator, Vocabulary, disposable_shops
from tests.security.methods import METHODS, Method
from tests.security.target import Target, TargetShop
from tests.waiting import TIMEOUT_SECONDS

_ANALYZERS: Final = ("category", "quality")
SERVICES: Final = ("catalog_svc", "connector_svc")
_CALLS_IN_FLIGHT: Final = 24
_CHANNELS: Final = 4
_MAX_VIOLATIONS: Final = 40
_MAX_GROWTH_MB: Final = 24.0
"""Of the last third of a long run."""
_MIN_REQUESTS_FOR_MEMORY: Final = 3_000
"""Of each method; a short run ends while caches are filling."""


@dataclass(kw_only=True, slots=True)
class Report:
    """What a run has found."""

    seed: int
    sent: Counter[str] = field(default_factory=Counter)
    """Calls by method."""
    refused_by_client: int = 0
    """Calls that gRPC's client did not send, for their metadata."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Responses by reason; "" are those without an error."""
    violations: list[str] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)
    """Resident memory of the services in MB: at the start, after two thirds, at the end."""

    def add_violation(self, text: str) -> None:
        if len(self.violations) < _MAX_VIOLATIONS:
            self.violations.append(text)


@dataclass(frozen=True, slots=True)
class _Case:
    """One generated call. The seed, the method and the number determine it."""

    method: Method
    number: int


async def fuzz(
    target: Target,
    shops: tuple[TargetShop, TargetShop],
    *,
    seed: int,
    requests: int,
    only: str = "",
    first: int = 0,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Send so many generated requests to each method and return what was found.

    Args:
        target: The services.
        shops: Their shops, which the requests name.
        seed: The same seed makes the same requests.
        requests: Requests of each method.
        only: The name of the only method; empty: all.
        first: The number of the first request, to replay some.
        progress: Is called after each call.
    """
    methods = [method for method in METHODS if only in ("", str(method))]
    fuzzer = _Fuzzer(target, Report(seed=seed), await _vocabulary(target, shops), shops[0].merchant_id)
    offsets = {name: (target.logs / f"{name}.log").stat().st_size for name in SERVICES} if target.logs else {}
    async with fuzzer:
        fuzzer.report.memory.append(memory_mb(target.pids))
        # Bounded caches fill and the allocator's arenas grow during the first two thirds.
        most = requests * 2 // 3
        for numbers in (range(first, first + most), range(first + most, first + requests)):
            cases = (_Case(method, number) for number in numbers for method in methods)
            await fuzzer.run(cases, progress)
            fuzzer.report.memory.append(memory_mb(target.pids))
    _check_processes(fuzzer.report, target, requests)
    for name, offset in offsets.items():
        assert target.logs is not None
        for line in broken_lines(target.logs / f"{name}.log", offset):
            fuzzer.report.add_violation(line)
    return fuzzer.report


class _Fuzzer:
    """Makes the calls of a run."""

    def __init__(self, target: Target, report: Report, vocabulary: Vocabulary, merchant_id: str) -> None:
        self.report = report
        self._target = target
        self._vocabulary = vocabulary
        self._requests = RequestGenerator(vocabulary)
        self._callers = Callers(target, merchant_id)
        self._channels: dict[str, list[grpc.aio.Channel]] = {}

    async def __aenter__(self) -> _Fuzzer:
        addresses = {
            method.service: self._target.catalog if method.is_of_catalog else self._target.connector
            for method in METHODS
        }
        # Otherwise all would share one connection.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
        self._channels = {
            name: [grpc.aio.insecure_channel(address, options=options) for _ in range(_CHANNELS)]
            for name, address in addresses.items()
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in (one for channels in self._channels.values() for one in channels):
            await channel.close()

    async def run(self, cases: Iterator[_Case], progress: Callable[[Report], None]) -> None:
        """Make the calls of the cases, several at a time."""

        async def work() -> None:
            for case in cases:
                await self._try(case)
                progress(self.report)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CALLS_IN_FLIGHT):
                group.create_task(work())

    async def _try(self, case: _Case) -> None:
        random = Random(f"{self.report.seed}:{case.method}:{case.number}")
        raw = self._requests.generate(random, case.method)
        caller = self._callers.generate(random, case.method)
        try:
            outcome, wrong = await self._call(case, raw, caller)
        except (ValueError, TypeError, grpc.aio.InternalError):
            # gRPC's client refuses some metadata.
            self.report.refused_by_client += 1
            return
        self.report.sent[str(case.method)] += 1
        self.report.outcomes[outcome] += 1
        if wrong is not None:
            self.report.add_violation(
                f"{case.method} number {case.number} as {caller.kind}, timeout {caller.timeout}: {wrong} "
                f"(request {raw[:60]!r} of {len(raw)} bytes, metadata {[key for key, _ in caller.metadata]})"
            )

    async def _call(self, case: _Case, raw: bytes, caller: Caller) -> tuple[str, str | None]:
        """Make a call, of a stream until its first message. Return its reason, and what is wrong with it."""
        method = case.method.descriptor
        channel = self._channels[case.method.service][case.number % _CHANNELS]
        options: dict[str, Any] = {"metadata": caller.metadata, "timeout": caller.timeout}
        try:
            if method.server_streaming:
                stream: Any = channel.unary_stream(path_of(method))
                await _read_first(stream(raw, **options))
            else:
                unary: Any = channel.unary_unary(path_of(method))
                self._learn(case.method, await unary(raw, **options))
        except grpc.aio.AioRpcError as error:
            return read_failure_now(error).reason or error.code().name, violation(error, caller, raw)
        return "", None

    def _learn(self, method: Method, raw: bytes) -> None:
        """Use the ids of syncs that were started in later requests."""
        if str(method) in ("StartSync", "ResumeSync"):
            self._vocabulary.recent_syncs.append(pb.StartSyncResponse.FromString(raw).sync.sync_id)


async def _read_first(call: Any) -> None:
    """Read the first message of a stream and cancel it. Raises AioRpcError with all trailers."""
    try:
        message = await call.read()
    except grpc.aio.AioRpcError:
        message = grpc.aio.EOF
    if message is not grpc.aio.EOF:
        call.cancel()
        return
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        # The error of a read may have been raised before the trailers arrived.
        raise grpc.aio.AioRpcError(
            code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
        )


def _check_processes(report: Report, target: Target, requests: int) -> None:
    start, warm, end = report.memory
    for name in start:
        if name not in end:
            report.add_violation(f"{name} has exited")
        elif requests >= _MIN_REQUESTS_FOR_MEMORY and end[name] - warm[name] > _MAX_GROWTH_MB:
            report.add_violation(f"{name} grew from {warm[name]:.0f} to {end[name]:.0f} MB")


async def _vocabulary(target: Target, shops: tuple[TargetShop, TargetShop]) -> Vocabulary:
    """Ask the services for page tokens and checkpoints, and collect what they know."""
    refs = [{"shop_id": shop.shop_id} for shop in shops]
    refs += [{"platform": shop.platform, "domain": shop.domain} for shop in shops]
    tasks = await _analysis_tasks(target, shops[0])
    tokens, checkpoints = await _page_tokens(target, shops), await _checkpoints(target, shops)
    uuids = [f"00000000-0000-4000-8000-{number:012}" for number in range(200)]
    values: dict[str, Iterable[Any]] = {
        "shop_id": [shop.shop_id for shop in shops],
        "platform": [shop.platform for shop in shops],
        "domain": [*(shop.domain for shop in shops), *(shop["domain"] for shop in disposable_shops())],
        "merchant_id": ["", *(shop.merchant_id for shop in shops)],
        "display_name": ["", "A shop", "x" * 255],
        "product_id": [shop.product_id for shop in shops],
        "product_ids": [shop.product_id for shop in shops],
        "item_id": [shop.item_id for shop in shops],
        "page_token": ["", *tokens],
        "checkpoint": [b"", *checkpoints],
        "request_id": ["", *uuids],
        "page_size": [0, 1, 10, 1_000],
        "sample_size": [0, 1, 10],
        "max_batch_products": [0, 1, 250],
        "after_revision": [0, 1, 5],
        "after_position": [0, 1, 100, "", *await _positions(target, shops)],
        "text": ["", "pro", "%%a1", "shirt"],
        "sku": ["", "SKU-1"],
        "incarnation": [""],
        "mode": [0, 1, 2],
        "states": [1, 2, 3, 4, 5],
        "connection_state": [0, 1, 2],
        "paths": [
            *("merchant_id", "display_name", "incremental_interval", "full_interval", "paused", "analyzers"),
        ],
        "analyzer": ["", *_ANALYZERS],
        "analyzers": _ANALYZERS,
        "worker_id": ["fuzz", "other"],
        "model_version": ["", "1", "2"],
        "other_than_model_version": ["1", "2"],
        "lease_id": [task.lease_id for task in tasks],
        "lease_ids": [task.lease_id for task in tasks],
        "ids": [task.image_id for task in tasks],
        "max_in_flight": [0, 1, 100],
        "state": [0, 1, 2, 3, 4],
        "analysis_state": [0, 1, 2, 3, 4],
        "category": ["", "Shirts"],
        "reason": ["IMAGE_UNREADABLE"],
        **{name: ["0", "0.5", "1"] for name in ("quality_score", "confidence_score")},
        **{name: ["", "0.2", "0.500000"] for name in ("min_quality_score", "max_quality_score")},
        "Timestamp": [1_700_000_000, 1_790_000_000],
        "Duration": [0, 60, 3_600],
    }
    recent = deque((shop.sync_id for shop in shops), maxlen=32)
    return Vocabulary(
        # Half of the requests are about shops that have a catalog.
        shops=[*refs * 4, *disposable_shops()],
        values={name: list(known) for name, known in values.items()},
        recent_syncs=recent,
    )


async def _positions(target: Target, shops: tuple[TargetShop, TargetShop]) -> list[str]:
    """Return positions of the item feed, within the snapshot and after it, and of the feeds of all shops."""
    async with open_channel(target.catalog) as channel:
        stub = CatalogServiceStub(channel)
        found = []
        for size in (1, 1_000):
            request = pb.ListItemChangesRequest(shop=shops[0].refs[0], page_size=size)
            found.append((await stub.ListItemChanges(request, metadata=target.service)).position)
        for call in (
            stub.WatchChanges(pb.WatchChangesRequest(), metadata=target.service),
            stub.WatchSyncs(pb.WatchSyncsRequest(), metadata=target.service),
        ):
            async for message in call:
                found.append(message.position)
                if message.caught_up:
                    break
            call.cancel()
    return found


async def _analysis_tasks(target: Target, shop: TargetShop) -> list[analysis_pb.AnalysisTask]:
    """Switch the analyzers on for the shop, and return tasks that the worker "fuzz" has leased."""
    async with open_channel(target.catalog) as channel:
        update = pb.ShopUpdate(analyzers=_ANALYZERS)
        request = pb.UpdateShopRequest(
            shop=shop.refs[0], update=update, update_mask=FieldMask(paths=["analyzers"])
        )
        await CatalogServiceStub(channel).UpdateShop(request, metadata=target.service)
        lease = analysis_pb.LeaseTasksRequest(worker_id="fuzz", analyzer=_ANALYZERS[0], max_in_flight=20)
        call = AnalysisServiceStub(channel).LeaseTasks(lease, metadata=target.service, timeout=TIMEOUT_SECONDS)
        async for message in call:
            if message.tasks:
                call.cancel()
                return list(message.tasks)
    raise AssertionError("the shop has no image")


async def _page_tokens(target: Target, shops: tuple[TargetShop, TargetShop]) -> list[str]:
    found = []
    async with open_channel(target.catalog) as channel:
        for name in ("ListItems", "ListProducts", "ListShops", "ListSyncs", "ListAnalyses"):
            (method,) = (one for one in METHODS if str(one) == name)
            fields: dict[str, Any] = {"page_size": 1}
            if name in ("ListItems", "ListProducts", "ListAnalyses"):
                fields["shop"] = shops[0].refs[0]
            if name == "ListAnalyses":
                fields |= {"analyzer": _ANALYZERS[0], "state": analysis_state.ANALYSIS_STATE_PENDING}
            response: Any = await method.call(channel, method.request_type(**fields), target.service)
            assert isinstance(response, Message), response
            found.append(getattr(response, "next_page_token"))  # noqa: B009
    return [token for token in found if token]


async def _checkpoints(target: Target, shops: tuple[TargetShop, TargetShop]) -> list[bytes]:
    found = []
    async with open_channel(target.connector) as channel:
        call: Any = channel.unary_stream(
            "/catalogsync.connector.v1.ConnectorService/FetchProducts",
            request_serializer=connector_pb.FetchProductsRequest.SerializeToString,
            response_deserializer=connector_pb.FetchProductsResponse.FromString,
        )
        for shop in shops:
            request = connector_pb.FetchProductsRequest(
                shop=connector_pb.ShopRef(platform=shop.platform, domain=shop.domain), max_batch_products=5
            )
            async for message in call(request, metadata=target.connector_service):
                found.append(message.batch.checkpoint)
    return [checkpoint for checkpoint in found if checkpoint]
