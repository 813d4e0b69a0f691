"""Products gathered until they are worth a round of variation calls and fit one message."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from connector_svc.platforms.woocommerce.product_pager import Listed
from connector_svc.platforms.woocommerce.wire import ProductRow

_MOST_VARIATIONS: Final = 500
"""Five full calls; more would only hold the first products back."""
_MOST_BYTES: Final = 700 * 1024
"""Estimated, of the message that the products become, which must stay below 1 MiB."""
_PRODUCT_BYTES: Final = 600
_VARIANT_BYTES: Final = 450
_IMAGE_BYTES: Final = 200
_VALUE_BYTES: Final = 40


async def chunks(
    pages: AsyncIterator[tuple[Listed, ...]], *, most_products: int
) -> AsyncGenerator[tuple[Listed, ...], None]:
    """Yields the products of `pages` in order; one too large for a chunk of its own limits stands alone."""
    pending: list[Listed] = []
    variations = size = 0
    async for page in pages:
        for listed in page:
            more, weight = _children(listed), _bytes(listed)
            if pending and (variations + more > _MOST_VARIATIONS or size + weight > _MOST_BYTES):
                yield tuple(pending)
                pending, variations, size = [], 0, 0
            pending.append(listed)
            variations += more
            size += weight
            if len(pending) >= most_products or variations >= _MOST_VARIATIONS:
                # Nothing more fits: the next page need not be waited for.
                yield tuple(pending)
                pending, variations, size = [], 0, 0
    if pending:
        yield tuple(pending)


def variable(chunk: Sequence[Listed]) -> tuple[ProductRow, ...]:
    """The products of `chunk` that are sold as variations."""
    rows = (listed.record for listed in chunk)
    return tuple(row for row in rows if isinstance(row, ProductRow) and row.is_variable())


def _children(listed: Listed) -> int:
    return len(listed.record.child_ids()) if isinstance(listed.record, ProductRow) else 0


def _bytes(listed: Listed) -> int:
    if not isinstance(listed.record, ProductRow):
        return _PRODUCT_BYTES
    row = listed.record
    text = 2 * len(row.description) + _VALUE_BYTES * sum(len(attribute.options) for attribute in row.attributes)
    return _PRODUCT_BYTES + text + _IMAGE_BYTES * len(row.images) + _VARIANT_BYTES * max(_children(listed), 1)
