"""How a shop is read: by a bulk operation, by ids or by pages, and why."""

from __future__ import annotations

from dataclasses import dataclass

from connector_svc.domain.fetch import FetchRequest
from connector_svc.platforms.shopify.bulk_policy import BulkPolicy
from connector_svc.platforms.shopify.pass_start import Opening
from connector_svc.platforms.shopify.position import Position
from connector_svc.platforms.shopify.queries import PAGE_PRODUCTS
from connector_svc.platforms.shopify.wanted import Wanted

BULK = "bulk"
PAGING = "paging"
HYDRATION = "hydration"
_TOLD = "the operator wants it so"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A strategy, as the header tells it."""

    strategy: str
    reason: str


def resumed(position: Position, wanted: Wanted) -> Choice:
    """A pass goes on as it was; one that has left its job goes on by pages."""
    if position.job:
        return Choice(strategy=BULK, reason="the pass goes on with the bulk job that it started")
    delivered = position.counts.emitted + position.counts.rejected
    return _without_bulk(
        (position.estimated_products or 0) - delivered, "the pass goes on behind the last product", wanted
    )


def first(request: FetchRequest, opening: Opening, policy: BulkPolicy, wanted: Wanted) -> Choice:
    """Bulk for a large first load: it costs no query points, but gives nothing before it has ended."""
    if request.updated_after is not None:
        return _without_bulk(opening.shop_info.product_count or 0, "only what changed is read", wanted)
    if wanted is Wanted.AUTO:
        return _fastest(opening, policy)
    if wanted is Wanted.BULK:
        return Choice(strategy=BULK, reason=_TOLD)
    return _without_bulk(opening.shop_info.product_count or 0, _TOLD, wanted)


def named() -> Choice:
    """Products that the request names."""
    return Choice(strategy=HYDRATION, reason="only the products that are asked for by their ids are read")


def refused(refusal: str, opening: Opening, wanted: Wanted) -> Choice:
    """Bulk would have been right and cannot be had."""
    return _without_bulk(opening.shop_info.product_count or 0, f"no bulk job, since {refusal}", wanted)


def _fastest(opening: Opening, policy: BulkPolicy) -> Choice:
    count = opening.shop_info.product_count
    if count is None:
        return Choice(strategy=PAGING, reason="Shopify does not tell how many products there are")
    is_fast = (opening.restore_rate or 0) >= policy.fast_restore_rate
    least = policy.from_products_when_fast if is_fast else policy.from_products
    plan = f"at {opening.restore_rate:.0f} points a second" if opening.restore_rate else "at an unknown rate limit"
    if count >= least:
        return Choice(strategy=BULK, reason=f"{count} products {plan}: from {least} on, a bulk job is faster")
    return _without_bulk(count, f"{count} products {plan}: below {least}, a bulk job is slower", Wanted.AUTO)


def _without_bulk(count: int, why: str, wanted: Wanted) -> Choice:
    """Ids and the products behind them cost an eighth of the points of pages, but one more call."""
    if wanted is Wanted.IDS or (wanted is not Wanted.PAGING and count > PAGE_PRODUCTS):
        return Choice(
            strategy=HYDRATION, reason=f"{why}; ids are listed and products read by them, while that pays"
        )
    return Choice(strategy=PAGING, reason=f"{why}, by pages in the order of ids")
