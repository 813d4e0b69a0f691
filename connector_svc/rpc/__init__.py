"""ConnectorService over gRPC: request validation, the stream of FetchProducts, conversion to proto messages."""
