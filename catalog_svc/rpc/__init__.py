"""CatalogService over gRPC: servicer, request validation, conversion of the domain to messages."""
