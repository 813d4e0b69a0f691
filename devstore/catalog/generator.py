"""The generated catalog: product `index` depends on spec and seed alone, and is built on demand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from devstore.catalog.edge_cases import EDGE_CASES, EdgeCase
from devstore.catalog.ids import BIGCOMMERCE_IDS, FEED_IDS, SHOPIFY_IDS, WOOCOMMERCE_IDS, IdScheme
from devstore.catalog.model import Image, Kind, Platform, Product, ProductRow, Variant
from devstore.catalog.sample_data import (
    COLOURS,
    MATERIALS,
    PRODUCT_ADJECTIVES,
    PRODUCT_NOUNS,
    SIZES,
    TAGS,
    VENDORS,
    seed_of,
    splitmix64,
)
from devstore.spec import ShopSpec

_EPOCH = int(datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp())
# As after CSV imports: 40 neighbours share the very second in which they were created and modified.
_PRODUCTS_PER_IMPORT = 40
_IMPORT_INTERVAL_SECONDS = 600
# After so many imports the dates start again, so that they stay in the past however large the catalog is.
_MAX_IMPORTS = 4_000
_SECONDS_PER_DAY = 86_400
_IDS = {
    Platform.SHOPIFY: SHOPIFY_IDS,
    Platform.WOOCOMMERCE: WOOCOMMERCE_IDS,
    Platform.BIGCOMMERCE: BIGCOMMERCE_IDS,
    Platform.FEED: FEED_IDS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Builds any product of a shop's initial catalog, in any order, always the same one for the same index."""

    spec: ShopSpec
    seed: int
    ids: IdScheme
    edge_cases: tuple[EdgeCase, ...]

    @classmethod
    def of(cls, spec: ShopSpec) -> Generator:
        return cls(
            spec=spec,
            seed=seed_of(spec.seed, spec.name),
            ids=_IDS[spec.platform],
            edge_cases=EDGE_CASES[spec.platform] if spec.edge_cases else (),
        )

    def edge_case_at(self, index: int) -> EdgeCase | None:
        """Return the edge case at this index: they are at the odd indexes, in their order."""
        position, odd = divmod(index, 2)
        return self.edge_cases[position] if odd and position < len(self.edge_cases) else None

    def row(self, index: int) -> ProductRow:
        """Return the index row of product `index`, without building the product."""
        bits = splitmix64(self.seed, index)
        edge_case = self.edge_case_at(index)
        kind = self._kind(bits, edge_case)
        created = _EPOCH + index // _PRODUCTS_PER_IMPORT % _MAX_IMPORTS * _IMPORT_INTERVAL_SECONDS
        # Half of an import has been edited since, each product at its own time.
        edited = bits >> 8 & 1
        first = self.ids.variant(index, 0)
        return ProductRow(
            id=self.ids.product(index),
            kind=kind,
            status=self._status(bits, edge_case),
            created=created,
            updated=created + ((bits >> 16) % (200 * _SECONDS_PER_DAY) if edited else _SECONDS_PER_DAY),
            variant_ids=range(first, first + self._variant_count(bits, kind, edge_case)),
        )

    def product(self, index: int) -> Product:
        """Build product `index`; it agrees with `row(index)`."""
        row = self.row(index)
        edge_case = self.edge_case_at(index)
        product = self._ordinary(index, row, edge_case)
        return edge_case.change(product) if edge_case else product

    def _ordinary(self, index: int, row: ProductRow, edge_case: EdgeCase | None) -> Product:
        rng = Random(splitmix64(self.seed, ~index))
        noun, category = rng.choice(PRODUCT_NOUNS)
        adjective, vendor = rng.choice(PRODUCT_ADJECTIVES), rng.choice(VENDORS)
        title = edge_case.title if edge_case else f"{vendor} {adjective} {noun}"
        created, updated = _time(row.created), _time(row.updated)
        cents = rng.randrange(299, 24_999)
        images = tuple(
            Image(id=self.ids.image(index, number), alt=f"{adjective} {noun}, view {number + 1}", changed=created)
            for number in range(rng.choice((1, 1, 2, 3, 5)))
        )
        product = Product(
            id=row.id,
            kind=row.kind,
            title=title,
            handle=f"{adjective}-{noun}-{index + 1}".lower().replace("'", "").replace(" ", "-").replace("é", "e"),
            description=f"<p>{adjective} {noun.lower()} by {vendor.replace('&', '&amp;')}.</p>\n",
            vendor=vendor,
            product_type=category,
            tags=tuple(sorted(rng.sample(TAGS, rng.randrange(4)))),
            status=row.status,
            sku=f"{vendor[:3].upper()}-{index + 1:05d}",
            images=images,
            created=created,
            updated=updated,
        )
        return self._with_offers(product, row, rng, cents)

    def _with_offers(self, product: Product, row: ProductRow, rng: Random, cents: int) -> Product:
        if row.kind is not Kind.VARIABLE:
            return replace(product, price=_typed_price(cents, rng), stock=rng.randrange(120), weight="0.25")
        options = options_for(len(row.variant_ids))
        if not options and self.spec.platform is Platform.SHOPIFY:
            options = (("Title", ("Default Title",)),)
        elif not options and self.spec.platform is Platform.WOOCOMMERCE:
            options = (("Size", ("S", "M")),)
        builder = VariantBuilder(
            product_id=product.id,
            sku=product.sku,
            cents=cents,
            images=product.images,
            created=product.created,
            updated=product.updated,
        )
        variants = builder.build(rng, row.variant_ids, options)
        return replace(product, options=options, variants=variants)

    def _kind(self, bits: int, edge_case: EdgeCase | None) -> Kind:
        if edge_case and edge_case.kind:
            return edge_case.kind
        if self.spec.platform.sells_variants_only:
            return Kind.VARIABLE
        variable = bits >> 9 & 1 or not self.spec.simple
        return Kind.VARIABLE if variable and self.spec.variant_range.most else Kind.SIMPLE

    def _status(self, bits: int, edge_case: EdgeCase | None) -> str:
        active, draft = ("publish", "draft") if self.spec.platform is Platform.WOOCOMMERCE else ("ACTIVE", "DRAFT")
        if edge_case:
            return edge_case.status or active
        return draft if bits % 50 == 0 else active

    def _variant_count(self, bits: int, kind: Kind, edge_case: EdgeCase | None) -> int:
        if kind is not Kind.VARIABLE:
            return 0
        if edge_case and edge_case.variants is not None:
            return edge_case.variants
        count = self.spec.variant_range
        return count.least + (bits >> 40) % (count.most - count.least + 1)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)


def _typed_price(cents: int, rng: Random) -> str:
    # WooCommerce returns prices as they were typed: "15", "12.5" and "12.50" all occur.
    text = money(cents)
    return rng.choice((text, text, text.rstrip("0").rstrip(".")))


Options = tuple[tuple[str, tuple[str, ...]], ...]

_MAX_WITH_ONE_OPTION = len(SIZES)
_MAX_WITH_TWO_OPTIONS = len(SIZES) * len(COLOURS)


def options_for(count: int) -> Options:
    """Return the fewest options that give `count` combinations; () for a product with one variant."""
    if count <= 1:
        return ()
    if count <= _MAX_WITH_ONE_OPTION:
        return (("Size", SIZES[:count]),)
    colours = COLOURS[: math.ceil(count / _MAX_WITH_ONE_OPTION)]
    if count <= _MAX_WITH_TWO_OPTIONS:
        return (("Size", SIZES), ("Color", colours))
    materials = MATERIALS[: math.ceil(count / _MAX_WITH_TWO_OPTIONS)]
    return (("Size", SIZES), ("Color", COLOURS), ("Material", materials))


def combinations(options: Options, count: int) -> Iterator[tuple[tuple[str, str], ...]]:
    """Return the first `count` combinations, each with one value per option."""
    names = [name for name, _ in options]
    values = itertools.product(*(values for _, values in options))
    return (tuple(zip(names, chosen, strict=True)) for chosen in itertools.islice(values, count))


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantBuilder:
    """Builds the variants of one product from what they have in common."""

    product_id: int
    sku: str
    cents: int
    images: Sequence[Image]
    created: datetime
    updated: datetime

    def build(self, rng: Random, ids: Sequence[int], options: Options) -> tuple[Variant, ...]:
        """Return one variant per id, as far as there are combinations; without options there is one."""
        chosen = combinations(options, len(ids))
        return tuple(
            self._variant(rng, number, variant_id, pairs)
            for number, (variant_id, pairs) in enumerate(zip(ids, chosen, strict=False))
        )

    def _variant(self, rng: Random, number: int, variant_id: int, pairs: tuple[tuple[str, str], ...]) -> Variant:
        bits = rng.getrandbits(32)
        cents = self.cents + number % 8 * 50
        return Variant(
            id=variant_id,
            product_id=self.product_id,
            title=" / ".join(value for _, value in pairs),
            options=pairs,
            sku=f"{self.sku}-{number + 1}",
            barcode=f"40{variant_id % 10**11:011d}",
            price=money(cents),
            compare_at=money(cents * 5 // 4) if bits % 10 == 0 else "",
            stock=bits // 16 % 120,
            weight=f"{bits // 4096 % 3000 / 1000:.3f}".rstrip("0").rstrip("."),
            image_id=self.images[number % len(self.images)].id if self.images and bits & 3 else None,
            created=self.created,
            updated=self.updated,
        )


def money(cents: int) -> str:
    """Format cents as a decimal with two places."""
    return f"{cents // 100}.{cents % 100:02d}"
