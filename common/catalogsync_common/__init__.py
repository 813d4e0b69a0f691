"""What the services and the command line share: gRPC channels and servers, errors, logs, settings, processes."""
