"""What a platform must bring along to be put through the conformance suite: a running source with known truth."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Platform


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueItem:
    """One thing that the shop sells, as its API shows it."""

    product_id: str
    item_id: str
    sku: str
    price: Decimal | None
    """With its digits: 7.30 is not 7.3."""
    stock: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What a complete pass must deliver."""

    currency: str
    titles: Mapping[str, str]
    """Of products by id, as the shop stores them."""
    items: Mapping[str, TrueItem]
    """By id."""


class PlatformHarness(Protocol):
    """One shop that runs, and the platform that reads it."""

    @property
    def shop(self) -> Shop: ...

    @property
    def platform(self) -> Platform: ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What opens the shop."""
        ...

    @property
    def calls(self) -> int:
        """Requests to the shop so far."""
        ...

    def truth(self) -> Truth:
        """As of now."""
        ...

    def answer(
        self,
        status: int,
        body: str = "",
        *,
        times: int | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """The shop gives this answer to the next `times` requests; None: to all of them."""
        ...

    def hang_up(self) -> None:
        """The shop closes every connection without an answer."""
        ...

    def cut_answers(self, times: int) -> None:
        """The next answers of the shop come with status 200 and half of their body."""
        ...

    def behave(self) -> None:
        """Ends all of that."""
        ...

    def change_product(self, product_id: str) -> datetime:
        """Changes a product; returns a moment just before."""
        ...

    def delete_product(self, product_id: str) -> None: ...

    def add_product(self) -> str:
        """Its id."""
        ...


class HarnessMaker(Protocol):
    """Starts a shop with so many products; `edge_cases`: the platform's difficult ones among them."""

    def __call__(
        self, *, products: int, scratch: Path, edge_cases: bool = True
    ) -> AbstractAsyncContextManager[PlatformHarness]: ...
