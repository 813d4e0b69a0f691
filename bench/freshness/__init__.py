"""How soon a change on a platform is visible in the catalog, by webhooks."""
