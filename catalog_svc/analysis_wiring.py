"""Wires AnalysisService and its background loops to their stores and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from catalogsync_common.drain import Drain

from catalog_svc.rpc.analysis_servicer import AnalysisServicer, AnalysisUseCases
from catalog_svc.rpc.page_tokens import PageTokens
from catalog_svc.storage.analyses import AnalysisStore
from catalog_svc.storage.analysis_tasks import AnalysisTaskStore
from catalog_svc.storage.analyzers import AnalyzerStore
from catalog_svc.storage.database import Database
from catalog_svc.usecases.analyses import FinishTasks, ReadAnalyses
from catalog_svc.usecases.analysis_backfill import AnalysisBackfill
from catalog_svc.usecases.analysis_hub import AnalysisHub
from catalog_svc.usecases.analysis_ports import AnalysisMetrics
from catalog_svc.usecases.lease_tasks import LeaseTasks
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.watcher_limits import WatcherLimiter

_WRITE_TTL = timedelta(seconds=30)
"""No statement under a shop's write lock takes longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisLoops:
    """The background loops of item analysis of one replica."""

    hub: AnalysisHub
    backfill: AnalysisBackfill


def wire_analysis_loops(
    database: Database, *, limiter: WatcherLimiter, announce_change: Callable[[UUID], None], drain: Drain
) -> AnalysisLoops:
    """Wire the background loops; nothing runs yet."""
    return AnalysisLoops(
        hub=AnalysisHub(AnalysisTaskStore(database, write_ttl=_WRITE_TTL), limiter=limiter),
        backfill=AnalysisBackfill(
            analyzers=AnalyzerStore(database, write_ttl=_WRITE_TTL), announce_change=announce_change, drain=drain
        ),
    )


def wire_analysis_servicer(
    loops: AnalysisLoops,
    *,
    writes: Database,
    reads: Database,
    read: ReadCatalog,
    announce_change: Callable[[UUID], None],
    drain: Drain,
    metrics: AnalysisMetrics,
    page_tokens: PageTokens,
) -> AnalysisServicer:
    """Wire the calls of AnalysisService to a replica."""
    tasks = AnalysisTaskStore(writes, write_ttl=_WRITE_TTL)
    use_cases = AnalysisUseCases(
        lease=LeaseTasks(tasks=tasks, hub=loops.hub, drain=drain, metrics=metrics),
        finish=FinishTasks(tasks=tasks, hub=loops.hub, metrics=metrics, announce_change=announce_change),
        read=ReadAnalyses(
            read=read,
            analyses=AnalysisStore(reads),
            analyzers=AnalyzerStore(writes, write_ttl=_WRITE_TTL),
            announce=loops.hub.announce,
        ),
    )
    return AnalysisServicer(use_cases, page_tokens)
