"""The vocabulary of generated catalogs."""

from __future__ import annotations

MAKERS = (
    "Northwind", "Alder & Co", "Kestrel", "Maison Verre", "Tundra Supply", "Blå Fjord",
    "Oak & Iron", "Sierra Norte", "Lumen", "Hikari", "Rook", "Casa Olmo",
)  # fmt: skip
STYLES = (
    "Classic", "Organic", "Vintage", "Everyday", "Lightweight", "Heavyweight", "Recycled", "Slim",
    "Relaxed", "Waterproof", "Hand-Made", "Limited", "Essential", "Alpine", "Studio", "Urban",
)  # fmt: skip
THINGS = (
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
