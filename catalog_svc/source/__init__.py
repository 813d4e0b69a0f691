"""The client of connector_svc: converts its messages to the catalog's domain."""
