"""The operator's command line, `catalogsync`: what people and scripts do with the two services over gRPC."""
