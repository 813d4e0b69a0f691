"""The cost of authentication and authorization for each call."""
