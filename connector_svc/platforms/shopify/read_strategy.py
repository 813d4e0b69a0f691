"""How a shop is read: by a bulk operation, by ids or by pages, and why.

What an operator wants of how shops are read.

When a bulk operation is worth its wait, and how long we wait for one."""

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
_TOLD = "the operator wants it so"


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyChoice:
    """A strategy, as the header tells it."""

    strategy: str
    reason: str


def resumed(position: Position, wanted: ReadStrategy) -> StrategyChoice:
    """A pass goes on as it was; one that has left its job goes on by pages."""
    if position.job:
        return StrategyChoice(strategy=BULK, reason="the pass goes on with the bulk job that it started")
    delivered = position.counts.emitted + position.counts.rejected
    return _without_bulk(
        (position.estimated_products or 0) - delivered, "the pass goes on behind the last product", wanted
    )


def first(request: FetchRequest, opening: PassStart, policy: BulkPolicy, wanted: ReadStrategy) -> StrategyChoice:
    """Bulk for a large first load: it costs no query points, but gives nothing before it has ended."""
    if request.updated_after is not None:
        return _without_bulk(opening.shop_info.product_count or 0, "only what changed is read", wanted)
    if wanted is ReadStrategy.AUTO:
        return _fastest(opening, policy)
    if wanted is ReadStrategy.BULK:
        return StrategyChoice(strategy=BULK, reason=_TOLD)
    return _without_bulk(opening.shop_info.product_count or 0, _TOLD, wanted)


def named() -> StrategyChoice:
    """Products that the request names."""
    return StrategyChoice(strategy=HYDRATION, reason="only the products that are asked for by their ids are read")


def refused(refusal: str, opening: PassStart, wanted: ReadStrategy) -> StrategyChoice:
    """Bulk would have been right and cannot be had."""
    return _without_bulk(opening.shop_info.product_count or 0, f"no bulk job, since {refusal}", wanted)


def _fastest(opening: PassStart, policy: BulkPolicy) -> StrategyChoice:
    count = opening.shop_info.product_count
    if count is None:
        return StrategyChoice(strategy=PAGING, reason="Shopify does not tell how many products there are")
    is_fast = (opening.restore_rate or 0) >= policy.fast_restore_rate
    least = policy.min_products_when_fast if is_fast else policy.min_products
    plan = f"at {opening.restore_rate:.0f} points a second" if opening.restore_rate else "at an unknown rate limit"
    if count >= least:
        return StrategyChoice(
            strategy=BULK, reason=f"{count} products {plan}: from {least} on, a bulk job is faster"
        )
    return _without_bulk(count, f"{count} products {plan}: below {least}, a bulk job is slower", ReadStrategy.AUTO)


def _without_bulk(count: int, why: str, wanted: ReadStrategy) -> StrategyChoice:
    """Ids and the products behind them cost an eighth of the points of pages, but one more call."""
    if wanted is ReadStrategy.IDS or (wanted is not ReadStrategy.PAGING and count > PAGE_PRODUCTS):
        return StrategyChoice(
            strategy=HYDRATION, reason=f"{why}; ids are listed and products read by them, while that pays"
        )
    return StrategyChoice(strategy=PAGING, reason=f"{why}, by pages in the order of ids")


class ReadStrategy(Enum):
    """Which strategy a pass gets."""

    AUTO = "auto"
    """The one that is fastest for the size of the shop and its rate limit."""
    PAGING = "paging"
    """ProductPages of whole products."""
    IDS = "ids"
    """Ids are listed and products read by them, while that pays."""
    BULK = "bulk"
    """A bulk operation for each full pass, also of a small shop. Incremental passes, and shops that refuse it, are
    read as by AUTO."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkPolicy:
    """Limits of bulk operations."""

    min_products: int = 2_000
    """A first load of fewer products is read faster by pages."""
    min_products_when_fast: int = 100_000
    """The same in a shop whose plan restores many points."""
    fast_restore_rate: float = 1_000.0
    """TokenBucket a second that make a plan fast: Shopify Plus."""
    first_poll_interval: timedelta = timedelta(milliseconds=500)
    max_poll_interval: timedelta = timedelta(seconds=5)
    stalled_after: timedelta = timedelta(minutes=5)
    """Without progress; then the job is cancelled and pages are read instead."""
    cancel_timeout: timedelta = timedelta(seconds=10)
    """So long an end of a cancelled job is waited for."""
    max_file_bytes: int = 8 * 1024**3
    """Of a result; it is held on disk while it is sorted."""
    page_bytes: int = 2 * 1024 * 1024
    """Of the products that are taken from the disk at once; a single product may be larger."""
