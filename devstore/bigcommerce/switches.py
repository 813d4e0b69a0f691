"""What a store's API withholds or gets wrong; a test turns these while the store is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True, kw_only=True)
class Switches:
    """The defaults are those of an honest store whose token has every scope."""

    inventory_scope: bool = True
    """Whether the token may read the Inventory API; otherwise that answers 403."""
    hidden_products: set[int] = field(default_factory=set)
    """Counted by each list of products and never in one."""
    bare_products: set[int] = field(default_factory=set)
    """Counted, and only in lists that include no variants: a record that the store cannot load whole."""
    dropped_rows: float = 0.0
    """The share of rows that each list of products leaves out of a page although it counts them."""
    currency: str = ""
    """The store's currency from now on; empty: as its spec says."""
    random: Random = field(default_factory=lambda: Random(7))
    """Decides which rows are dropped."""

    def leaves_out(self, product_id: int, *, whole: bool) -> bool:
        """Whether a list does not show a product that it counts; `whole`: with its variants."""
        if product_id in self.hidden_products or (whole and product_id in self.bare_products):
            return True
        return self.dropped_rows > 0 and self.random.random() < self.dropped_rows
