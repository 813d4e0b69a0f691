"""Routes by resource: each turns a request into calls of the catalog and a response."""
