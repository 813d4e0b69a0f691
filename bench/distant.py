"""A WooCommerce store that takes long for each answer: there the number of calls decides, not the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.kinds import families_of
from bench.peers.process import Peer
from bench.stack import running_store, workplace
from bench.ways import WAYS, dlt, old_design
from bench.whole import Compared, Plan, compared


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """How far away which store is."""

    products: int = 200
    """Each with 10 variations."""
    ms: int = 200
    rounds: int = 3
    smoke: bool = False
    """Only the peers that the ratios need; the store works its few answers out."""
    with_old: bool = False
    """The same of the old design, which asks for each variation by itself."""


async def distant(distance: Distance) -> dict[str, Compared]:
    """First loads by us, as it is delivered, and by peers, by kind of store; dlt tuned has four connections."""
    found = {}
    for way in WAYS:
        if way.kind == "shopify":
            continue
        plan = Plan(
            ways=(way,),
            peers=_peers(way.kind, distance),
            rounds=distance.rounds,
            peer_rounds=distance.rounds,
            again=False,
            taught=not distance.smoke,
            delay_ms=distance.ms,
        )
        with workplace("distant") as place:
            found[way.kind] = await _loaded(place, way.kind, distance, plan)
    return found


async def _loaded(place: Path, kind: str, distance: Distance, plan: Plan) -> Compared:
    shop = families_of(kind, distance.products, 10)
    async with running_store(place / "store", shop, remember=True) as store:
        return await compared(place, store, plan)


def _peers(kind: str, distance: Distance) -> tuple[Peer, ...]:
    """The slow ones once, since all stores are the same for them."""
    if kind != "woocommerce-10.3":
        return (dlt("tuned"),)
    default = () if distance.smoke else (dlt("default"),)
    old = (old_design(variations="one by one"),) if distance.with_old else ()
    return (dlt("tuned"), *default, *old)
