"""How a generated product's options and variants are made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from devstore.catalog.model import Image, Variant
from devstore.catalog.words import COLOURS, MATERIALS, SIZES

Options = tuple[tuple[str, tuple[str, ...]], ...]

_ONE_OPTION = len(SIZES)
_TWO_OPTIONS = len(SIZES) * len(COLOURS)


def options_for(count: int) -> Options:
    """The fewest options that give `count` combinations; () for a product of a single form."""
    if count <= 1:
        return ()
    if count <= _ONE_OPTION:
        return (("Size", SIZES[:count]),)
    colours = COLOURS[: math.ceil(count / _ONE_OPTION)]
    if count <= _TWO_OPTIONS:
        return (("Size", SIZES), ("Color", colours))
    return (("Size", SIZES), ("Color", COLOURS), ("Material", MATERIALS[: math.ceil(count / _TWO_OPTIONS)]))


def combinations(options: Options, count: int) -> Iterator[tuple[tuple[str, str], ...]]:
    """The first `count` choices, one value per option."""
    names = [name for name, _ in options]
    values = itertools.product(*(values for _, values in options))
    return (tuple(zip(names, chosen, strict=True)) for chosen in itertools.islice(values, count))


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantMaker:
    """What the variants of one product have in common."""

    product_id: int
    sku: str
    cents: int
    images: Sequence[Image]
    created: datetime
    updated: datetime

    def make(self, rng: Random, ids: Sequence[int], options: Options) -> tuple[Variant, ...]:
        """One variant per id, as far as there are combinations; without options there is one."""
        chosen = combinations(options, len(ids))
        return tuple(
            self._one(rng, number, variant_id, pairs)
            for number, (variant_id, pairs) in enumerate(zip(ids, chosen, strict=False))
        )

    def _one(self, rng: Random, number: int, variant_id: int, pairs: tuple[tuple[str, str], ...]) -> Variant:
        draw = rng.getrandbits(32)
        cents = self.cents + number % 8 * 50
        return Variant(
            id=variant_id,
            product_id=self.product_id,
            title=" / ".join(value for _, value in pairs),
            options=pairs,
            sku=f"{self.sku}-{number + 1}",
            barcode=f"40{variant_id % 10**11:011d}",
            price=money(cents),
            compare_at=money(cents * 5 // 4) if draw % 10 == 0 else "",
            stock=draw // 16 % 120,
            weight=f"{draw // 4096 % 3000 / 1000:.3f}".rstrip("0").rstrip("."),
            image_id=self.images[number % len(self.images)].id if self.images and draw & 3 else None,
            created=self.created,
            updated=self.updated,
        )


def money(cents: int) -> str:
    """Cents as a decimal text of two places."""
    return f"{cents // 100}.{cents % 100:02d}"
