"""What an operator wants of how shops are read."""

from __future__ import annotations

from enum import Enum


class Wanted(Enum):
    """Which strategy a pass gets."""

    AUTO = "auto"
    """The one that is fastest for the size of the shop and its rate limit."""
    PAGING = "paging"
    """Pages of whole products."""
    IDS = "ids"
    """Ids are listed and products read by them, while that pays."""
    BULK = "bulk"
    """A bulk operation for each full pass, also of a small shop. Incremental passes, and shops that refuse it, are
    read as by AUTO."""
