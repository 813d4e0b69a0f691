"""What the conformance suite needs of a platform: a running shop with known contents."""

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
class ExpectedItem:
    """One item that the shop sells, as its API shows it."""

    product_id: str
    item_id: str
    sku: str
    price: Decimal | None
    """With its digits: 7.30 is not 7.3."""
    stock: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedCatalog:
    """What a complete pass must deliver."""

    currency: str
    titles: Mapping[str, str]
    """Of products by id, as the shop stores them."""
    items: Mapping[str, ExpectedItem]
    """By id."""


class PlatformHarness(Protocol):
    """A running shop, and the platform that reads it."""

    @property
    def shop(self) -> Shop: ...

    @property
    def platform(self) -> Platform: ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """The shop's credentials."""
        ...

    @property
    def calls(self) -> int:
        """Requests to the shop so far."""
        ...

    def expected(self) -> ExpectedCatalog:
        """Return what the shop contains now."""
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
        """Give this answer to the next `times` requests; None: to all of them."""
        ...

    def hang_up(self) -> None:
        """Close every connection without an answer."""
        ...

    def truncate_replies(self, times: int) -> None:
        """Truncate the next replies to half of their body, with status 200."""
        ...

    def recover(self) -> None:
        """End all faults."""
        ...

    def change_product(self, product_id: str) -> datetime:
        """Change a product; return a time just before."""
        ...

    @property
    def shows_replaced_pictures(self) -> bool:
        """Whether the platform says that another picture is served at the address of an image."""
        ...

    def replace_picture(self, product_id: str) -> None:
        """Replace the picture of the product's first image by another one."""
        ...

    def delete_product(self, product_id: str) -> None: ...

    def add_product(self) -> str:
        """Add a product; return its id."""
        ...


class HarnessMaker(Protocol):
    """Starts a shop with `products` products; `edge_cases`: including the platform's difficult ones."""

    def __call__(
        self, *, products: int, scratch: Path, edge_cases: bool = True
    ) -> AbstractAsyncContextManager[PlatformHarness]: ...
