"""The one outbound HTTP client: where it may go, how long it waits, and what it never does."""
