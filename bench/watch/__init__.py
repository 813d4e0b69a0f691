"""`make bench-watch`: what watchers cost, and how soon they learn of a change."""
