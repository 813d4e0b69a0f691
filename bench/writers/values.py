"""Records as the values of their rows' columns."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from catalog_svc.domain.records import ItemRecord, ProductRecord
from catalog_svc.storage.shops import ShopScope

_EXACT = ("price", "compare_at_price", "weight")
_JSON = ("options", "images")


def driver_row(record: ProductRecord | ItemRecord, scope: ShopScope) -> tuple[Any, ...]:
    """As asyncpg takes them, in the order of `driver_columns`."""
    return (*scope.values.values(), *_with_numbers(record).values())


def driver_columns(kind: type[ProductRecord | ItemRecord], scope: ShopScope) -> tuple[str, ...]:
    """The names of a `driver_row`."""
    return (*scope.values, *kind._fields)


def column_values(record: ProductRecord | ItemRecord, scope: ShopScope) -> dict[str, Any]:
    """As SQLAlchemy takes them for our tables: JSON as Python objects."""
    values = _with_numbers(record)
    parsed = {name: json.loads(values[name]) for name in _JSON if name in values}
    return {**scope.values, **values, **parsed}


def _with_numbers(record: ProductRecord | ItemRecord) -> dict[str, Any]:
    values = record._asdict()
    texts = {name: values[name] for name in _EXACT if name in values}
    return values | {name: None if digits is None else Decimal(digits) for name, digits in texts.items()}
