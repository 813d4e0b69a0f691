"""`make bench-export`: `catalogsync export` of a shop of a million items."""
