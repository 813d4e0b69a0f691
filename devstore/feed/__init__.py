"""Publishes a shop's catalog as a signed feed (docs/custom-feed.md), as a merchant's own job would."""
