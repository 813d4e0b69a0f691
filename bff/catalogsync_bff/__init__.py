"""The reference BFF: catalogs and syncs over HTTP for browsers, by the client of catalog_svc alone."""
