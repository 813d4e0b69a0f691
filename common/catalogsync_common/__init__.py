"""How a service of ours speaks gRPC and is run; knows no sync and no product."""
