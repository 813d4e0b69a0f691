"""The generated catalog: product number `index` follows from spec and seed alone, and is built when asked for.

How a generated product's options and variants are made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from devstore.catalog.edge_cases import EDGE_CASES, EdgeCase
from devstore.catalog.ids import BIGCOMMERCE_IDS, FEED_IDS, SHOPIFY_IDS, WOOCOMMERCE_IDS, IdScheme
from devstore.catalog.model import Image, Kind, Platform, Product, Row, Variant
from devstore.catalog.sample_data import COLOURS, MAKERS, MATERIALS, SIZES, STYLES, TAGS, THINGS, mix, seed_of
from devstore.spec import ShopSpec

_EPOCH = int(datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp())
# As after a CSV import: so many neighbours share the very second they were created and modified in.
_IMPORT_SIZE = 40
_IMPORT_EVERY = 600
# Dates stay in the past, however large the catalog.
_IMPORTS = 4_000
_IDS = {
    Platform.SHOPIFY: SHOPIFY_IDS,
    Platform.WOOCOMMERCE: WOOCOMMERCE_IDS,
    Platform.BIGCOMMERCE: BIGCOMMERCE_IDS,
    Platform.FEED: FEED_IDS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Builds any product of one shop's initial catalog, in any order, always the same."""

    spec: ShopSpec
    seed: int
    ids: IdScheme
    specials: tuple[EdgeCase, ...]

    @classmethod
    def of(cls, spec: ShopSpec) -> Generator:
        return cls(
            spec=spec,
            seed=seed_of(spec.seed, spec.name),
            ids=_IDS[spec.platform],
            specials=EDGE_CASES[spec.platform] if spec.specials else (),
        )

    def special_at(self, index: int) -> EdgeCase | None:
        """The special product at this place: every second place holds one, until all are placed."""
        number, rest = divmod(index, 2)
        return self.specials[number] if rest and number < len(self.specials) else None

    def row(self, index: int) -> Row:
        """What lists need to know of product `index`, without building it."""
        draw = mix(self.seed, index)
        special = self.special_at(index)
        kind = self._kind(draw, special)
        created = _EPOCH + index // _IMPORT_SIZE % _IMPORTS * _IMPORT_EVERY
        # Half of an import has been edited since, each product at a time of its own.
        edited = draw >> 8 & 1
        first = self.ids.variant(index, 0)
        return Row(
            id=self.ids.product(index),
            kind=kind,
            status=self._status(draw, special),
            created=created,
            updated=created + (draw >> 16) % (200 * 86_400) if edited else created + 86_400,
            variant_ids=range(first, first + self._variant_count(draw, kind, special)),
        )

    def product(self, index: int) -> Product:
        """Product `index`, complete; its row() is the outline of it."""
        row = self.row(index)
        special = self.special_at(index)
        product = self._ordinary(index, row, special)
        return special.change(product) if special else product

    def _ordinary(self, index: int, row: Row, special: EdgeCase | None) -> Product:
        rng = Random(mix(self.seed, ~index))
        (thing, category), style, maker = rng.choice(THINGS), rng.choice(STYLES), rng.choice(MAKERS)
        title = special.title if special else f"{maker} {style} {thing}"
        created, updated = _time(row.created), _time(row.updated)
        cents = rng.randrange(299, 24_999)
        images = tuple(
            Image(id=self.ids.image(index, number), alt=f"{style} {thing}, view {number + 1}")
            for number in range(rng.choice((1, 1, 2, 3, 5)))
        )
        product = Product(
            id=row.id,
            kind=row.kind,
            title=title,
            handle=f"{style}-{thing}-{index + 1}".lower().replace("'", "").replace(" ", "-").replace("é", "e"),
            description=f"<p>{style} {thing.lower()} by {maker.replace('&', '&amp;')}.</p>\n",
            vendor=maker,
            product_type=category,
            tags=tuple(sorted(rng.sample(TAGS, rng.randrange(4)))),
            status=row.status,
            sku=f"{maker[:3].upper()}-{index + 1:05d}",
            images=images,
            created=created,
            updated=updated,
        )
        return self._sold(product, row, rng, cents)

    def _sold(self, product: Product, row: Row, rng: Random, cents: int) -> Product:
        if row.kind is not Kind.VARIABLE:
            return replace(product, price=_stored(cents, rng), stock=rng.randrange(120), weight="0.25")
        options = options_for(len(row.variant_ids))
        if not options and self.spec.platform is Platform.SHOPIFY:
            options = (("Title", ("Default Title",)),)
        elif not options and self.spec.platform is Platform.WOOCOMMERCE:
            options = (("Size", ("S", "M")),)
        maker = VariantMaker(
            product_id=product.id,
            sku=product.sku,
            cents=cents,
            images=product.images,
            created=product.created,
            updated=product.updated,
        )
        variants = maker.make(rng, row.variant_ids, options)
        return replace(product, options=options, variants=variants)

    def _kind(self, draw: int, special: EdgeCase | None) -> Kind:
        if special and special.kind:
            return special.kind
        if self.spec.platform.sells_variants_only:
            return Kind.VARIABLE
        variable = draw >> 9 & 1 or not self.spec.simple
        return Kind.VARIABLE if variable and self.spec.shape.most else Kind.SIMPLE

    def _status(self, draw: int, special: EdgeCase | None) -> str:
        active, draft = ("publish", "draft") if self.spec.platform is Platform.WOOCOMMERCE else ("ACTIVE", "DRAFT")
        if special:
            return special.status or active
        return draft if draw % 50 == 0 else active

    def _variant_count(self, draw: int, kind: Kind, special: EdgeCase | None) -> int:
        if kind is not Kind.VARIABLE:
            return 0
        if special and special.variants is not None:
            return special.variants
        shape = self.spec.shape
        return shape.least + (draw >> 40) % (shape.most - shape.least + 1)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)


def _stored(cents: int, rng: Random) -> str:
    # WooCommerce gives prices back as they were typed: "15", "12.5" and "12.50" all occur.
    text = money(cents)
    return rng.choice((text, text, text.rstrip("0").rstrip(".")))


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
