"""Measures memory and event loop stalls of the connector while it reads a feed of 1 GiB."""
