"""The generated, mutable catalog of a shop, independent of the platforms' APIs that show it."""
