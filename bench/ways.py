"""The ways in which we read shops, and who reads the same shops beside us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.peers.process import Peer
from bench.stack import ROOT, Store

_DLT_COUNTS: Final = """
    SELECT (SELECT count(*) FROM woo.variations) + (SELECT count(*) FROM woo.products WHERE type <> 'variable')"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to read one kind of shop."""

    name: str
    kind: str
    """See `bench.kinds`."""
    strategy: str
    """What the stream's header calls it."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the connector, so that it takes this way."""
    calls_by_product: bool = False
    """Whether each variable product takes a call."""

    def is_taken(self, calls: int, store: Store) -> bool:
        """Whether so many calls for the whole store are those of this way."""
        return (calls > store.products / 4) if self.calls_by_product else (calls < store.products / 10 + 20)


def _shopify(strategy: str) -> Way:
    return Way(
        name=f"shopify-{strategy}",
        kind="shopify",
        strategy=strategy,
        settings={"CONNECTOR_SHOPIFY_STRATEGY": strategy},
    )


WAYS: Final = (
    _shopify("paging"),
    _shopify("bulk"),
    Way(name="woocommerce-bulk", kind="woocommerce-10.3", strategy="paging"),
    Way(name="woocommerce-dashboard", kind="woocommerce-8.2", strategy="paging"),
    Way(name="woocommerce-plain", kind="woocommerce-plain", strategy="paging", calls_by_product=True),
)
"""WooCommerce with a bulk route for variations, with the one that is for its own dashboard, and with none."""


def dlt(tuning: str) -> Peer:
    """`default` or `tuned`."""
    return Peer(
        name=f"dlt {tuning}",
        module="bench.peers.dlt_woocommerce",
        counts=_DLT_COUNTS,
        python=str(ROOT / ".venv-bench" / "bin" / "python"),
        options={"tuning": tuning},
    )


def old_design(name: str = "old design", *, pause: float = 0.0, variations: str = "together") -> Peer:
    """`pause` is in seconds after each page; `variations` are read "together" or "one by one"."""
    return Peer(
        name=name,
        module="bench.peers.old_design",
        counts="SELECT count(*) FROM item",
        options={"pause": str(pause), "variations": variations},
    )


def peers_of(kind: str, *, pauses: bool, smoke: bool) -> tuple[Peer, ...]:
    """Who reads shops of this kind beside us. For them all WooCommerce stores are the same."""
    old = (old_design(), *([old_design("old design with pauses", pause=0.5)] if pauses else []))
    if smoke:
        return {"shopify": old[:1], "woocommerce-10.3": (dlt("tuned"), *old[:1])}.get(kind, ())
    return {"shopify": old, "woocommerce-10.3": (dlt("default"), dlt("tuned"), *old)}.get(kind, ())
