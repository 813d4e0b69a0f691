"""The BigCommerce face: V3 catalog and the store's own page over a shop's catalog."""
