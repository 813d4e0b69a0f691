"""How soon thousands of watchers are back after all connections broke at once."""
