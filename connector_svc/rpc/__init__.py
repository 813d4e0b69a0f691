"""How the connector is asked over gRPC: request checks, the pump behind a stream, domain to proto."""
