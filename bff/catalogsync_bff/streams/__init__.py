"""Live updates: one upstream stream for all browsers that watch the same syncs."""
