"""The command line `catalogsync`: starts, watches and inspects syncs through the gRPC APIs of the two services."""
