"""Computable ids: an id alone determines the index of its product, variant or image."""

from __future__ import annotations

from dataclasses import dataclass

VARIANTS_PER_PRODUCT = 4096
"""Reserved ids per product: twice Shopify's limit of 2,048, since ids of deleted variants are never reused."""
IMAGES_PER_PRODUCT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IdScheme:
    """How a platform numbers product `index` (0, 1, ...), its variants and its images."""

    first_product: int
    first_variant: int
    first_image: int

    def product(self, index: int) -> int:
        return self.first_product + index * VARIANTS_PER_PRODUCT

    def variant(self, index: int, number: int) -> int:
        return self.first_variant + index * VARIANTS_PER_PRODUCT + number

    def image(self, index: int, number: int) -> int:
        return self.first_image + index * IMAGES_PER_PRODUCT + number

    def index_of_product(self, product_id: int) -> int | None:
        """Return the index of a product id; None when no product can have this id."""
        index, rest = divmod(product_id - self.first_product, VARIANTS_PER_PRODUCT)
        return index if index >= 0 and rest == 0 else None

    def product_of_variant(self, variant_id: int) -> int:
        """Return the id of the product that owns a variant id, whether or not the variant exists."""
        return self.product((variant_id - self.first_variant) // VARIANTS_PER_PRODUCT)

    def product_of_image(self, image_id: int) -> int:
        """Return the id of the product that owns an image id, whether or not the image exists."""
        return self.product((image_id - self.first_image) // IMAGES_PER_PRODUCT)


SHOPIFY_IDS = IdScheme(
    first_product=7_000_000_000_000, first_variant=42_000_000_000_000, first_image=30_000_000_000_000
)
BIGCOMMERCE_IDS = IdScheme(first_product=77, first_variant=1_000_077, first_image=2_000_077)
FEED_IDS = IdScheme(first_product=100_000, first_variant=5_000_100_000, first_image=9_000_100_000)
# WordPress numbers products, variations and images from one sequence, so no two of them share an id.
WOOCOMMERCE_IDS = IdScheme(first_product=4096, first_variant=4097, first_image=2_000_000_000)
