"""Chooses how a shop is read: by a bulk operation, by product ids or by pages of products, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from connector_svc.domain.fetch import FetchRequest
from connector_svc.platforms.shopify.pass_start import PassStart
from connector_svc.platforms.shopify.position import Position
from connector_svc.platforms.shopify.queries import PAGE_PRODUCTS

BULK = "bulk"
PAGING = "paging"
HYDRATION = "hydration"
_CONFIGURED = "the operator has configured it"


class ReadStrategy(Enum):
    """The read strategy that an operator configures."""

    AUTO = "auto"
    """The fastest one for the size of the shop and its rate limit."""
    PAGING = "paging"
    """Pages of complete products."""
    IDS = "ids"
    """Ids are listed and products are read by id, as long as that is cheaper than pages."""
    BULK = "bulk"
    """A bulk operation for each full pass, even of a small shop. Incremental passes, and shops that refuse the
    bulk operation, are read as with AUTO."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkPolicy:
    """When a bulk operation is worth its wait, and its limits."""

    min_products: int = 2_000
    """A first load of fewer products is read faster by pages."""
    min_products_when_fast: int = 100_000
    """The same for a shop whose plan restores many points."""
    fast_restore_rate: float = 1_000.0
    """Points per second from which a plan is fast: Shopify Plus."""
    first_poll_interval: timedelta = timedelta(milliseconds=500)
    max_poll_interval: timedelta = timedelta(seconds=5)
    stalled_after: timedelta = timedelta(minutes=5)
    """Time without progress after which the job is cancelled and pages are read instead."""
    cancel_timeout: timedelta = timedelta(seconds=10)
    """How long to wait for a cancelled job to end."""
    max_file_bytes: int = 8 * 1024**3
    """Limit of a result file; its rows are stored on disk while they are joined."""
    page_bytes: int = 2 * 1024 * 1024
    """Bytes of products read from disk at once; a single product may be larger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyChoice:
    """The strategy of a pass and the reason for it, as the header reports them."""

    strategy: str
    reason: str


def strategy_for_new_pass(
    request: FetchRequest, start: PassStart, policy: BulkPolicy, configured: ReadStrategy
) -> StrategyChoice:
    """Choose bulk for a large first load: it costs no points, but delivers nothing before the job has ended."""
    count = start.shop_info.product_count
    if request.updated_after is not None:
        return _without_bulk(count or 0, "only what changed is read", configured)
    if configured is ReadStrategy.AUTO:
        return _fastest(start, policy)
    if configured is ReadStrategy.BULK:
        return StrategyChoice(strategy=BULK, reason=_CONFIGURED)
    return _without_bulk(count or 0, _CONFIGURED, configured)


def strategy_for_resumed_pass(position: Position, configured: ReadStrategy) -> StrategyChoice:
    """Continue a pass as it began; one that has finished with its bulk job continues by ids or pages."""
    if position.bulk_job_id:
        return StrategyChoice(strategy=BULK, reason="the pass continues with the bulk job that it started")
    delivered = position.counts.emitted + position.counts.rejected
    return _without_bulk(
        (position.estimated_products or 0) - delivered, "the pass continues after the last product", configured
    )


def strategy_for_requested_ids() -> StrategyChoice:
    """Return the strategy for products that the request names."""
    return StrategyChoice(strategy=HYDRATION, reason="only the products requested by id are read")


def strategy_without_bulk(refusal: str, start: PassStart, configured: ReadStrategy) -> StrategyChoice:
    """Return the strategy when a bulk job was chosen but could not be started."""
    return _without_bulk(start.shop_info.product_count or 0, f"no bulk job, since {refusal}", configured)


def _fastest(start: PassStart, policy: BulkPolicy) -> StrategyChoice:
    count = start.shop_info.product_count
    if count is None:
        return StrategyChoice(strategy=PAGING, reason="Shopify does not report the number of products")
    is_fast = (start.restore_rate or 0) >= policy.fast_restore_rate
    minimum = policy.min_products_when_fast if is_fast else policy.min_products
    rate = f"at {start.restore_rate:.0f} points a second" if start.restore_rate else "at an unknown rate limit"
    if count >= minimum:
        return StrategyChoice(
            strategy=BULK, reason=f"{count} products {rate}: from {minimum} on, a bulk job is faster"
        )
    reason = f"{count} products {rate}: below {minimum}, a bulk job is slower"
    return _without_bulk(count, reason, ReadStrategy.AUTO)


def _without_bulk(count: int, reason: str, configured: ReadStrategy) -> StrategyChoice:
    """Choose between ids and pages: hydration costs an eighth of the points of pages, but one more call."""
    is_hydrated = configured is not ReadStrategy.PAGING and count > PAGE_PRODUCTS
    if configured is ReadStrategy.IDS or is_hydrated:
        return StrategyChoice(
            strategy=HYDRATION,
            reason=f"{reason}; ids are listed and products are read by id, as long as that is cheaper",
        )
    return StrategyChoice(strategy=PAGING, reason=f"{reason}, by pages in id order")
