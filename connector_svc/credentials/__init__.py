"""Providers of shops' credentials: a file, the Token Service, their chain, and the renewal of access tokens."""
