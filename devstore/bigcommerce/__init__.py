"""The BigCommerce API: V3 catalog and inventory, and the V2 store resource, over a shop's catalog."""
