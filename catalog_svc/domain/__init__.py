"""The domain: shops, syncs, products and items, and their rules; imports neither gRPC nor SQL."""
