"""Publishes a shop's catalog as a signed custom feed (docs/custom-feed.md), as a merchant's own job does."""
