"""The commands, one module per group: parse arguments, call a service, print the response."""
