"""Products that exist to be difficult; each generated catalog contains all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devstore.catalog.model import Kind, Product


def unchanged(product: Product) -> Product:
    """The finish of a special product that is special by its shape alone."""
    return product


@dataclass(frozen=True, slots=True, kw_only=True)
class Special:
    """How one generated product differs from an ordinary one."""

    name: str
    """What a test asks for: `catalog.special("variants-600")`."""
    title: str
    variants: int | None = None
    """How many variants; None as an ordinary product would have."""
    kind: Kind | None = None
    status: str | None = None
    finish: Callable[[Product], Product] = unchanged
    """The last touch, once the product and its variants are built. Must keep ids, kind and status."""
