"""Whose rows a statement touches."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopScope:
    """One shop of one merchant."""

    merchant_id: UUID
    shop_id: UUID

    @property
    def values(self) -> dict[str, object]:
        """As statement parameters."""
        return {"merchant_id": self.merchant_id, "shop_id": self.shop_id}
