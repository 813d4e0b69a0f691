"""Use cases: starting, running, watching, scheduling and reading syncs; `ports` says what they need."""
