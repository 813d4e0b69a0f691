"""Where the old design stores: our products and items with the same indexes, and with money as floats."""

from __future__ import annotations

from sqlalchemy import Double, MetaData, Numeric, Table
from sqlalchemy.orm import registry

from catalog_svc.storage import tables

metadata = MetaData()


def _copied(table: Table) -> Table:
    copy = table.to_metadata(metadata)
    for column in copy.columns:
        if isinstance(column.type, Numeric):
            column.type = Double()
    return copy


class OldProduct:
    """A row of products."""


class OldItem:
    """A row of items."""


_registry = registry(metadata=metadata)
_registry.map_imperatively(OldProduct, _copied(tables.product))
_registry.map_imperatively(OldItem, _copied(tables.item))
