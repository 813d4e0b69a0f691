"""Whether a pass brought everything."""

from __future__ import annotations

from catalog_svc.domain.errors import SourceCountMismatch
from catalog_svc.domain.source import SourceEnd
from catalog_svc.domain.sync import Sync


def check_complete(sync: Sync, end: SourceEnd) -> None:
    """Raises SourceCountMismatch when less was stored than the source sent, or sent than its platform counts.

    More is possible: a product removed while it was read, or read again after a break.
    """
    products = sync.progress.products
    # Products that were sent and could not be stored as they came are counted as set aside.
    accounted = products.seen + products.rejected
    if accounted < end.emitted_count:
        raise SourceCountMismatch(what="products were sent", expected=end.emitted_count, received=accounted)
    if accounted < end.source_count:
        raise SourceCountMismatch(
            what="products are counted by the platform", expected=end.source_count, received=accounted
        )
