"""The connector: reads product catalogs from e-commerce platforms and streams them; keeps no state."""
