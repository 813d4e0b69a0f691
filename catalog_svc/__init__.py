"""The catalog: runs syncs, stores merchants' products and lets clients follow and read them."""
