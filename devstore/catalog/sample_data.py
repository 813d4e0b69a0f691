"""Deterministic sample data: seeded random bits, and the vocabulary of generated catalogs."""

from __future__ import annotations

import zlib

# -- random bits

_MASK = (1 << 64) - 1


def seed_of(seed: int, name: str) -> int:
    """Derive a seed for a named thing, so that two shops of one process do not sell the same products."""
    return splitmix64(seed & _MASK, zlib.crc32(name.encode()))


def splitmix64(seed: int, index: int) -> int:
    """Return 64 well-distributed bits for (seed, index); cheaper than a `random.Random` per index."""
    word = (seed + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


# -- vocabulary

VENDORS = (
    "Northwind", "Alder & Co", "Kestrel", "Maison Verre", "Tundra Supply", "Blå Fjord",
    "Oak & Iron", "Sierra Norte", "Lumen", "Hikari", "Rook", "Casa Olmo",
)  # fmt: skip
PRODUCT_ADJECTIVES = (
    "Classic", "Organic", "Vintage", "Everyday", "Lightweight", "Heavyweight", "Recycled", "Slim",
    "Relaxed", "Waterproof", "Hand-Made", "Limited", "Essential", "Alpine", "Studio", "Urban",
)  # fmt: skip
PRODUCT_NOUNS = (
    ("T-Shirt", "Apparel"), ("Hoodie", "Apparel"), ("Rain Jacket", "Apparel"), ("Chino Trousers", "Apparel"),
    ("Wool Socks", "Accessories"), ("Leather Belt", "Accessories"), ("Canvas Tote", "Bags"),
    ("Backpack 20 L", "Bags"), ("Running Shoes", "Footwear"), ("Chelsea Boots", "Footwear"),
    ("Enamel Mug", "Kitchen"), ("Chef's Knife", "Kitchen"), ("Linen Tablecloth", "Home"),
    ("Desk Lamp", "Home"), ("Soy Candle", "Home"), ("Yoga Mat", "Sport"), ("Café Tray", "Kitchen"),
    ("Notebook A5", "Stationery"), ("Fountain Pen", "Stationery"), ("Travel Pillow", "Travel"),
)  # fmt: skip
TAGS = ("new", "sale", "bestseller", "summer", "winter", "gift", "eco", "outlet", "made-in-eu", "last-chance")

SIZES = ("XS", "S", "M", "L", "XL", "2XL", "3XL", "4XL")
COLOURS = (
    "Black", "White", "Navy", "Olive", "Burgundy", "Sand", "Sky Blue", "Forest", "Rust", "Charcoal",
    "Cream", "Teal", "Plum", "Mustard", "Rose", "Slate", "Moss", "Coral", "Indigo", "Copper",
)  # fmt: skip
MATERIALS = (
    "Cotton", "Linen", "Wool", "Hemp", "Silk", "Denim", "Fleece", "Bamboo", "Leather", "Nylon",
    "Canvas", "Cork", "Felt",
)  # fmt: skip
