"""catalog_svc: runs syncs, stores products in PostgreSQL, and serves CatalogService to clients."""
