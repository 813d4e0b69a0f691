"""The client of connector_svc: its streams and answers as the catalog's domain."""
