"""What the catalog counts, at its ports: syncs, batches, leases, watchers, the database."""
