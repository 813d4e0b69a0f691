"""A store to sync from on a laptop: generated catalogs behind both platforms' real APIs, quirks included."""
