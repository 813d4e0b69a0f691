"""How fast and how soon the item feed delivers, and what its followers cost."""
